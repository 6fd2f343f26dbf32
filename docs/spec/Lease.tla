------------------------------- MODULE Lease -------------------------------
(* Leases on one budget, and the rules of time that keep them safe: what      *)
(* docs/guarantees.md proves in prose and jepsen/model/real explores in the   *)
(* real code, in as few lines as it can be said.                              *)
(*                                                                            *)
(* The cluster is a sequence of committed entries; `now' is the stamp of the  *)
(* newest, and nodes that can lead differ only in the pair that they noted    *)
(* after the entry they applied last. Every clock is a count that a tick      *)
(* raises by Fast or by Slow, the two ends of what is assumed of clocks.      *)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Edges, Nodes,     \* processes that spend, nodes that can lead
    Limit,            \* credits of a window
    Length,           \* of a window, on the cluster clock
    Ticks,            \* real time ends
    Slow, Fast,       \* what a clock advances in one tick
    Elections,        \* how often leaders change
    Steps, Jump,      \* how often the clock steps, and how far
    Deaths,           \* how often edges crash
    Asks,             \* how many questions are ever asked
    SlowEdges,        \* edges whose clocks are slow; the others are fast
    SlowNodes,
    Guard, Stamped, Barrier, Stretch, SentFirst, Later
                      \* rules: FALSE breaks one

VARIABLES
    tick,             \* real time
    now, window, end, \* state machine: clock, newest window [window, end)
    granted,          \* by holder, in the newest window
    node,             \* by node: the pair noted last, and whether it is of the newest entry
    leader, base,     \* who leads, and the pair that its clock runs from
    edge,             \* by edge: its incarnation and its lease
    asks, answers,    \* everything ever sent: what was lost is what never arrives
    admitted,         \* units in the newest window
    left,             \* faults that may still happen
    late              \* a unit was admitted after its window had ended

vars == <<tick, now, window, end, granted, node, leader, base, edge, asks, answers, admitted, left, late>>

Holders == Edges \X (1 .. Deaths + 1)

Rate(slow) == IF slow THEN Slow ELSE Fast
NodeClock(n) == tick * Rate(n \in SlowNodes)
EdgeClock(e) == tick * Rate(e \in SlowEdges)

(* The leader's cluster clock: from its base by its own clock.                *)
C == base.now + (NodeClock(leader) - base.at)

(* What a grant at `now' may be spent for, and the part of it that a holder   *)
(* spends on its own clock: (1-rho)/(1+rho), rounded down.                    *)
Max(S) == CHOOSE m \in S : \A k \in S : k <= m
TTL == Max({0, end - now - 1})
Guarded(ttl) == IF Guard THEN (ttl * Slow) \div Fast ELSE ttl

Out(g) == LET f[S \in SUBSET Holders] ==
                IF S = {} THEN 0 ELSE LET h == CHOOSE h \in S : TRUE IN g[h] + f[S \ {h}]
          IN f[Holders]

NoLease == [window |-> -1, granted |-> 0, used |-> 0, until |-> 0]

Init ==
    /\ tick = 0 /\ now = 0 /\ window = -Length /\ end = 0
    /\ granted = [h \in Holders |-> 0]
    /\ node = [n \in Nodes |-> [now |-> 0, at |-> 0, fresh |-> TRUE]]
    /\ leader \in Nodes /\ base = [now |-> 0, at |-> 0]
    /\ edge = [e \in Edges |-> NoLease @@ [inc |-> 1]]
    /\ asks = {} /\ answers = {}
    /\ admitted = 0 /\ late = FALSE
    /\ left = [elections |-> Elections, steps |-> Steps, deaths |-> Deaths]

Tick == /\ tick < Ticks /\ tick' = tick + 1
        /\ UNCHANGED <<now, window, end, granted, node, leader, base, edge, asks, answers, admitted, left, late>>

(* An edge reads its clock, then sends. Totals: what it used in its window,   *)
(* and what its grant should reach. A repeated message is one that is still   *)
(* in the set.                                                                *)
Ask(e) == LET l == edge[e] IN
    /\ Cardinality(asks) < Asks
    /\ asks' = asks \cup {[edge |-> e, inc |-> l.inc, sent |-> tick, window |-> l.window, want |-> l.used + 1, gone |-> l.used]}
    /\ UNCHANGED <<tick, now, window, end, granted, node, leader, base, edge, answers, admitted, left, late>>

(* The leader closes a batch and reads its stamp; the entry is committed and  *)
(* applied. A window that has ended is followed by the aligned one, cut where *)
(* the one before it ended.                                                   *)
Entry(stamp) == Max({now, stamp})
Aligned(t) == (t \div Length) * Length
Seal(q) == \E stamp \in (IF Stamped THEN {C} ELSE base.now .. C) :
    LET t    == Entry(stamp)
        roll == t >= end
        w    == IF roll THEN Max({Aligned(t), end}) ELSE window
        e2   == IF roll THEN Aligned(t) + Length ELSE end
        g    == IF roll THEN [h \in Holders |-> 0] ELSE granted
        h    == <<q.edge, q.inc>>
        want == IF q.window = w THEN q.want ELSE q.want - q.gone
        more == Max({0, IF want - g[h] < Limit - Out(g) THEN want - g[h] ELSE Limit - Out(g)})
    IN /\ now' = t /\ window' = w /\ end' = e2
       /\ granted' = [g EXCEPT ![h] = @ + more]
       /\ admitted' = IF roll THEN 0 ELSE admitted
       /\ answers' = answers \cup {[edge |-> q.edge, inc |-> q.inc, sent |-> q.sent, window |-> w,
                                    granted |-> g[h] + more, ttl |-> Max({0, e2 - t - 1})]}
       /\ node' = [n \in Nodes |-> [node[n] EXCEPT !.fresh = FALSE]]
       /\ UNCHANGED <<tick, leader, base, edge, asks, left, late>>

(* A node applies the log and notes the pair.                                 *)
Note(n) ==
    /\ ~node[n].fresh
    /\ node' = [node EXCEPT ![n] = [now |-> now, at |-> NodeClock(n), fresh |-> TRUE]]
    /\ base' = IF n = leader /\ now > C THEN [now |-> now, at |-> NodeClock(n)] ELSE base
    /\ UNCHANGED <<tick, now, window, end, granted, leader, edge, asks, answers, admitted, left, late>>

(* A node leads once everything committed is applied, and continues from the  *)
(* pair it noted.                                                             *)
Elect(n) ==
    /\ left.elections > 0 /\ (node[n].fresh \/ ~Barrier)
    /\ leader' = n /\ base' = [now |-> node[n].now, at |-> node[n].at]
    /\ left' = [left EXCEPT !.elections = @ - 1]
    /\ UNCHANGED <<tick, now, window, end, granted, node, edge, asks, answers, admitted, late>>

(* A step keeps a window with credits out alive for what it had left.         *)
Step ==
    /\ left.steps > 0
    /\ LET before == Entry(C)
           to == C + Jump
       IN /\ to > before
          /\ now' = to
          /\ end' = IF Stretch /\ Out(granted) > 0 /\ before < end THEN to + (end - before) ELSE end
    /\ node' = [n \in Nodes |-> [node[n] EXCEPT !.fresh = FALSE]]
    /\ left' = [left EXCEPT !.steps = @ - 1]
    /\ UNCHANGED <<tick, window, granted, leader, base, edge, asks, answers, admitted, late>>

(* An answer about a later window is a new lease; one about the same window   *)
(* raises it; an older one is ignored. Time is counted from the sending.      *)
Hear(a) == LET e == a.edge
               l == edge[e]
               from == IF SentFirst THEN a.sent * Rate(e \in SlowEdges) ELSE EdgeClock(e)
               until == from + Guarded(a.ttl)
               old == IF a.window = l.window THEN l ELSE NoLease @@ [inc |-> l.inc]
    IN /\ a.inc = l.inc
       /\ IF Later THEN a.window >= l.window ELSE TRUE
       /\ edge' = [edge EXCEPT ![e] = [window |-> a.window, used |-> old.used, inc |-> l.inc,
                                       granted |-> Max({old.granted, a.granted}), until |-> Max({old.until, until})]]
       /\ UNCHANGED <<tick, now, window, end, granted, node, leader, base, asks, answers, admitted, left, late>>

(* The clock is read at the admission.                                        *)
Spend(e) == LET l == edge[e] IN
    /\ l.used < l.granted /\ EdgeClock(e) < l.until
    /\ edge' = [edge EXCEPT ![e].used = @ + 1]
    /\ late' = (late \/ l.window # window \/ now >= end \/ C >= end)
    /\ admitted' = IF l.window = window THEN admitted + 1 ELSE admitted
    /\ UNCHANGED <<tick, now, window, end, granted, node, leader, base, asks, answers, left>>

(* An edge that starts again is another holder.                               *)
Die(e) ==
    /\ left.deaths > 0
    /\ edge' = [edge EXCEPT ![e] = NoLease @@ [inc |-> @.inc + 1]]
    /\ left' = [left EXCEPT !.deaths = @ - 1]
    /\ UNCHANGED <<tick, now, window, end, granted, node, leader, base, asks, answers, admitted, late>>

Next ==
    \/ Tick \/ Step
    \/ \E e \in Edges : Ask(e) \/ Spend(e) \/ Die(e)
    \/ \E n \in Nodes : Note(n) \/ Elect(n)
    \/ \E q \in asks : Seal(q)
    \/ \E a \in answers : Hear(a)

Spec == Init /\ [][Next]_vars

(* G1: no more than the limit, and nothing after the window ended at its      *)
(* owner. The ledger never has more out than the limit. G3: an edge never     *)
(* believes to have been granted more than it was.                            *)
Bounded == admitted <= Limit
InTime  == ~late
Ledger  == Out(granted) <= Limit
Agreed  == \A e \in Edges : edge[e].window = window => edge[e].granted <= granted[<<e, edge[e].inc>>]
=============================================================================
