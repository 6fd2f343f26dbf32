package fsm

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// The commands of a transcript:
//
//	genesis ID [longest MS] [idle MS] [budgets N] [edges N] [holders N]
//	step TO
//	policies [put NAME RATE [BLOCK] [keys N]; ] [delete NAME; ] [expect VERSION]
//	edge ID/INCARNATION session S seq N[: ASK; ASK ...]
//	alarm KIND NODE DETAIL     clear KIND NODE     digest
//	broken HOW                 an entry that cannot be applied
//	check POLICY COST: [KEY ...]           - is the empty key
//	reserve POLICY/KEY WANTS   debit POLICY/KEY TOKENS
//	admit POLICY/KEY NONCE     release LEASE [dropped]     heartbeat [LEASE ...]
//
//	RATE is LIMIT per CADENCE, gcra LIMIT per PERIOD burst N, bucket CAPACITY
//	refill PER_SECOND, sliding LIMIT per PERIOD buckets N, log LIMIT per PERIOD or
//	none.
//	BLOCK is strict, leased, federated, meter, or guard MIN..MAX or aimd MIN..MAX,
//	which begin at MIN.
//	LEASE is INDEX.POSITION/NONCE, or any other word as it is.
//	CADENCE is 1000, 1000@250, day, week, month, month+60 or month-60.
//	ASK is POLICY/KEY NEED..WANT [in WINDOW] [used N] [returned N].

// parseEntry builds the entry and returns its commands too.
func parseEntry(t testing.TB, stamp clock.Millis, lines []string) ([]byte, []Command) {
	t.Helper()
	var b Batch
	var cmds []Command
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		p := &words{t: t, line: line, list: strings.Fields(rest)}
		switch word {
		case "broken":
			return brokenEntry(t, stamp, rest), nil
		case "genesis":
			cmds = append(cmds, p.genesis())
		case "step":
			cmds = append(cmds, Step{To: clock.Millis(p.number())})
		case "policies":
			cmds = append(cmds, parsePolicies(t, rest))
		case "edge":
			cmds = append(cmds, parseExchange(t, rest))
		case "alarm":
			cmds = append(cmds, Alarm{Kind: p.next(), Node: p.next(), Detail: strings.Join(p.list, " ")})
		case "clear":
			cmds = append(cmds, Alarm{Kind: p.next(), Node: p.next(), Clear: true})
		case "digest":
			cmds = append(cmds, Digest{})
		case "check", "reserve", "debit", "admit", "release", "heartbeat":
			cmds = append(cmds, p.request(word))
		default:
			t.Fatalf("unknown command: %q", line)
		}
		b.Add(cmds[len(cmds)-1])
	}
	return b.Seal(stamp, 1), cmds
}

// words takes the words of a line one by one.
type words struct {
	t    testing.TB
	line string
	list []string
}

func (p *words) next() string {
	if len(p.list) == 0 {
		p.t.Fatalf("%q: a word is missing", p.line)
	}
	w := p.list[0]
	p.list = p.list[1:]
	return w
}

func (p *words) number() int64 {
	w := p.next()
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		p.t.Fatalf("%q: %v", p.line, err)
	}
	return n
}

func (p *words) genesis() Genesis {
	g := Genesis{ClusterID: p.next(), Settings: DefaultSettings()}
	for len(p.list) > 0 {
		switch w := p.next(); w {
		case "longest":
			g.Settings.LongestLease = clock.Millis(p.number())
		case "idle":
			g.Settings.SessionIdle = clock.Millis(p.number())
		case "budgets":
			g.Settings.MaxBudgets = int(p.number())
		case "edges":
			g.Settings.MaxEdges = int(p.number())
		case "holders":
			g.Settings.MaxHolders = int(p.number())
		default:
			p.t.Fatalf("%q: unknown setting %q", p.line, w)
		}
	}
	return g
}

func parsePolicies(t testing.TB, line string) Policies {
	var c Policies
	for part := range strings.SplitSeq(line, ";") {
		p := &words{t: t, line: line, list: strings.Fields(part)}
		switch w := p.next(); w {
		case "put":
			c.Put = append(c.Put, p.policy())
		case "delete":
			c.Delete = append(c.Delete, p.next())
		case "expect":
			c.Expect = uint64(p.number())
		default:
			t.Fatalf("%q: unknown change %q", line, w)
		}
	}
	return c
}

func (p *words) cadence() (policy.Strategy, escrow.Cadence) {
	w := p.next()
	name, tail := w, ""
	if i := strings.IndexAny(w, "@+-"); i >= 0 {
		name, tail = w[:i], strings.TrimPrefix(w[i:], "@")
	}
	extra, _ := strconv.ParseInt(tail, 10, 64)
	kinds := map[string]escrow.Kind{"day": escrow.CalendarDay, "week": escrow.CalendarWeek, "month": escrow.CalendarMonth}
	if k, ok := kinds[name]; ok {
		return policy.Quota, escrow.Cadence{Kind: k, OffsetMinutes: int32(extra)}
	}
	period, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		p.t.Fatalf("%q: %v", p.line, err)
	}
	c := escrow.Cadence{Kind: escrow.Fixed, Period: clock.Millis(period), Anchor: clock.Millis(extra)}
	if tail != "" {
		return policy.Quota, c
	}
	return policy.FixedWindow, c
}

func parseExchange(t testing.TB, line string) *Exchange {
	head, asks, _ := strings.Cut(line, ":")
	p := &words{t: t, line: line, list: strings.Fields(head)}
	id, incarnation, _ := strings.Cut(p.next(), "/")
	n, err := strconv.ParseUint(incarnation, 10, 64)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	x := &Exchange{EdgeID: id, Incarnation: n}
	p.next() // session
	x.Session = escrow.HolderID(p.number())
	p.next() // seq
	x.Seq = uint64(p.number())
	for part := range strings.SplitSeq(asks, ";") {
		if strings.TrimSpace(part) != "" {
			x.Asks = append(x.Asks, (&words{t: t, line: line, list: strings.Fields(part)}).ask())
		}
	}
	return x
}

func (p *words) ask() Ask {
	var a Ask
	a.Policy, a.Key, _ = strings.Cut(p.next(), "/")
	need, want, _ := strings.Cut(p.next(), "..")
	a.Need = escrow.Credits((&words{t: p.t, line: p.line, list: []string{need}}).number())
	a.Want = escrow.Credits((&words{t: p.t, line: p.line, list: []string{want}}).number())
	for len(p.list) > 0 {
		switch w := p.next(); w {
		case "in":
			a.Window = clock.Millis(p.number())
		case "used":
			a.Used = escrow.Credits(p.number())
		case "returned":
			a.Returned = escrow.Credits(p.number())
		default:
			p.t.Fatalf("%q: unknown word %q", p.line, w)
		}
	}
	return a
}

// brokenEntry returns an entry that no replica may apply.
func brokenEntry(t testing.TB, stamp clock.Millis, how string) []byte {
	t.Helper()
	var b Batch
	b.Add(Digest{})
	switch how {
	case "unknown kind":
		b.buf[0] = 99
	case "command cut short":
		b.Reset()
		b.Add(&Exchange{EdgeID: "e1", Incarnation: 1, Seq: 1})
		b.buf = b.buf[:len(b.buf)-3]
	case "bytes behind":
		b.buf = append(b.buf, 0)
	}
	e := b.Seal(stamp, 1)
	switch how {
	case "flipped bit":
		e[3] ^= 1
	case "newer format":
		e[0] = Version + 1
	case "too short":
		e = e[:5]
	}
	return e
}
