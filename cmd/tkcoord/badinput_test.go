package main

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const badInputPolicies = `version: 1
limiters:
  api: {strategy: fixedWindow, limit: 100, period: 7d}
  few: {strategy: fixedWindow, limit: 100, period: 7d, maxKeys: 1}
`

// books are what the state machine holds of policies and budgets.
type books struct {
	Version  uint64
	Policies []fsm.PolicyStatus
	Budgets  []fsm.BudgetState
	Edges    int
	Alarms   []fsm.RaisedAlarm
}

func booksOf(r *transport.Replica) (b books) {
	r.Query(func(m *fsm.Machine) {
		b.Version, b.Policies = m.Policies()
		_, b.Edges = m.Sizes()
		b.Alarms = m.Alarms()
	})
	r.Freeze().Budgets(func(s fsm.BudgetState) bool { b.Budgets = append(b.Budgets, s); return true })
	return b
}

// A badInput is a node, an edge that holds 10 credits and used 3 of them, and the
// books at that time.
type badInput struct {
	t       *testing.T
	cluster *realCluster
	edge    tkcoordv1.EdgeClient
	admin   tkcoordv1.AdminClient
	session uint64
	window  int64
	seq     uint64
	before  books
}

func newBadInput(t *testing.T) *badInput {
	c := startReal(t, 1, badInputPolicies)
	b := &badInput{t: t, cluster: c, edge: c.edge(0), admin: c.admin(0)}
	a := b.must(&tkcoordv1.Ask{Policy: "api", Key: "k", Need: 10, Want: 10})
	b.window = a.WindowStartMs
	b.must(&tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 3, Returned: 2})
	b.must(&tkcoordv1.Ask{Policy: "few", Key: "one", Want: 1})
	b.before = booksOf(c.members[0].proc.node.Replica())
	return b
}

func (b *badInput) exchange(asks ...*tkcoordv1.Ask) (*tkcoordv1.ExchangeResponse, error) {
	b.seq++
	return b.edge.Exchange(b.t.Context(), &tkcoordv1.ExchangeRequest{EdgeId: "e", Incarnation: 1, Session: b.session, Seq: b.seq, Asks: asks})
}

func (b *badInput) must(ask *tkcoordv1.Ask) *tkcoordv1.Answer {
	b.t.Helper()
	res, err := b.exchange(ask)
	if err != nil || res.Answers[0].Problem != nil {
		b.t.Fatalf("exchange %v: %v, %v", ask, res, err)
	}
	b.session = res.Session
	return res.Answers[0]
}

// changedNothing compares the books with those at the beginning.
func (b *badInput) changedNothing(t *testing.T) {
	t.Helper()
	if now := booksOf(b.cluster.members[0].proc.node.Replica()); !reflect.DeepEqual(now, b.before) {
		t.Errorf("the books changed:\n%+v\nto\n%+v", b.before, now)
	}
}

// A bad ask is answered with what is wrong about which field. It changes nothing,
// and the other asks of the exchange are answered as if it were not there.
func TestBadAsks(t *testing.T) {
	b := newBadInput(t)
	week := int64(7 * 86_400_000)
	tests := []struct {
		name   string
		ask    *tkcoordv1.Ask
		reason tkcoordv1.Reason
		field  string
		text   string
	}{
		{"unknown policy", &tkcoordv1.Ask{Policy: "apj", Key: "k", Want: 1}, tkcoordv1.Reason_REASON_UNKNOWN_POLICY, "policy", `policy: "apj": unknown policy`},
		{"no policy", &tkcoordv1.Ask{Key: "k", Want: 1}, tkcoordv1.Reason_REASON_INVALID, "policy", `policy: got "", want the name of a policy, 1 to 256 bytes`},
		{"long policy", &tkcoordv1.Ask{Policy: strings.Repeat("p", 257), Key: "k", Want: 1}, tkcoordv1.Reason_REASON_INVALID, "policy", "(257 bytes)"},
		{"long key", &tkcoordv1.Ask{Policy: "api", Key: strings.Repeat("k", 1025), Want: 1}, tkcoordv1.Reason_REASON_INVALID, "key", "(1025 bytes)"},
		{"key of 1 MB", &tkcoordv1.Ask{Policy: "api", Key: strings.Repeat("k", 1<<20), Want: 1}, tkcoordv1.Reason_REASON_INVALID, "key", "(1048576 bytes)"},
		{"negative used", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: -1}, tkcoordv1.Reason_REASON_INVALID, "used", "used: got -1, want 0 to"},
		{"absurd used", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: math.MaxInt64}, tkcoordv1.Reason_REASON_INVALID, "used", "used: got 9223372036854775807"},
		{"negative returned", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 3, Returned: math.MinInt64}, tkcoordv1.Reason_REASON_INVALID, "returned", "returned: got -9223372036854775808"},
		{"negative want", &tkcoordv1.Ask{Policy: "api", Key: "k", Want: -5}, tkcoordv1.Reason_REASON_INVALID, "want", "want: got -5"},
		{"absurd want", &tkcoordv1.Ask{Policy: "api", Key: "k", Want: math.MaxInt64}, tkcoordv1.Reason_REASON_INVALID, "want", "want: got 9223372036854775807"},
		{"negative need", &tkcoordv1.Ask{Policy: "api", Key: "k", Need: -1, Want: 1}, tkcoordv1.Reason_REASON_INVALID, "need", "need: got -1, want 0 to want (1)"},
		{"need above want", &tkcoordv1.Ask{Policy: "api", Key: "k", Need: 2, Want: 1}, tkcoordv1.Reason_REASON_INVALID, "need", "need: got 2, want 0 to want (1)"},
		{"used beyond what is held", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 9, Returned: 2, Need: 50, Want: 50},
			tkcoordv1.Reason_REASON_OVERSPENT, "used", "used: 9 + returned: 2 > granted: 10"},
		{"used of a stranger's key", &tkcoordv1.Ask{Policy: "api", Key: "other", WindowStartMs: b.window, Used: 1, Need: 5, Want: 5},
			tkcoordv1.Reason_REASON_OVERSPENT, "used", "used: 1 + returned: 0 > granted: 0"},
		{"used runs backwards", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 2, Returned: 2, Need: 50, Want: 50},
			tkcoordv1.Reason_REASON_BACKWARDS, "used", "used: 2 after 3"},
		{"returned runs backwards", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 3, Returned: 1, Need: 50, Want: 50},
			tkcoordv1.Reason_REASON_BACKWARDS, "used", "returned: 1 after 2"},
		{"window of the future", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window + week, Need: 50, Want: 50},
			tkcoordv1.Reason_REASON_FUTURE_WINDOW, "window_start_ms", fmt.Sprintf("window_start_ms: %d", b.window+week)},
		{"window beyond time", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: math.MaxInt64}, tkcoordv1.Reason_REASON_INVALID, "window_start_ms", "window_start_ms: got 9223372036854775807"},
		{"negative window", &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: -1}, tkcoordv1.Reason_REASON_INVALID, "window_start_ms", "window_start_ms: got -1"},
		{"totals without a window", &tkcoordv1.Ask{Policy: "api", Key: "k", Used: 1}, tkcoordv1.Reason_REASON_INVALID, "window_start_ms", "the window that used (1)"},
		{"a key too many", &tkcoordv1.Ask{Policy: "few", Key: "two", Want: 1}, tkcoordv1.Reason_REASON_EXHAUSTED, "key", `key: policy "few" has 1 live keys`},
		{"nothing at all", nil, tkcoordv1.Reason_REASON_INVALID, "policy", "policy: got"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good := &tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 3, Returned: 2}
			res, err := b.exchange(good, tt.ask, good)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{0, 2} {
				if a := res.Answers[i]; a.Problem != nil || a.Granted != 10 {
					t.Errorf("the good ask beside it: %v", a)
				}
			}
			a := res.Answers[1]
			p := a.GetProblem()
			if p.GetReason() != tt.reason || p.GetField() != tt.field || !strings.Contains(p.GetMessage(), tt.text) {
				t.Errorf("problem %v, want %v of %s with %q", p, tt.reason, tt.field, tt.text)
			}
			if len(p.GetMessage()) > 300 || a.Granted != 0 || a.TtlMs != 0 {
				t.Errorf("answer %v, want a short problem and zeros", a)
			}
			b.changedNothing(t)
		})
	}
}

// Totals of a window that is over say nothing any more; only what is needed now
// counts.
func TestPastWindow(t *testing.T) {
	b := newBadInput(t)
	for _, past := range []int64{1, b.window - 1} {
		res, err := b.exchange(&tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: past, Used: 1 << 40, Returned: 5})
		if err != nil || res.Answers[0].Problem != nil || res.Answers[0].WindowStartMs != b.window || res.Answers[0].Granted != 10 {
			t.Errorf("window %d: %v, %v; want the present window", past, res, err)
		}
		b.changedNothing(t)
	}
}

// wantsField checks a refusal of a whole call: its code, the field that its
// details name ("" for none), and what it says.
func wantsField(t *testing.T, err error, code codes.Code, field, text string) {
	t.Helper()
	s := status.Convert(err)
	named := ""
	for _, d := range s.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			named = bad.FieldViolations[0].Field
		}
	}
	if s.Code() != code || named != field || !strings.Contains(s.Message(), text) || len(s.Message()) > 400 {
		t.Errorf("got %v, field %q: %q; want %v, field %q: %q", s.Code(), named, s.Message(), code, field, text)
	}
}

func TestBadExchanges(t *testing.T) {
	b := newBadInput(t)
	many := make([]*tkcoordv1.Ask, fsm.MaxAsks+1)
	for i := range many {
		many[i] = &tkcoordv1.Ask{Policy: "api", Key: fmt.Sprint(i), Want: 1}
	}
	heavy := make([]*tkcoordv1.Ask, 600)
	for i := range heavy {
		heavy[i] = &tkcoordv1.Ask{Policy: "api", Key: fmt.Sprintf("%01000d", i), Want: 1}
	}
	tests := []struct {
		name  string
		req   *tkcoordv1.ExchangeRequest
		code  codes.Code
		field string
		text  string
	}{
		{"no edge", &tkcoordv1.ExchangeRequest{Incarnation: 1, Seq: 1}, codes.InvalidArgument, "edge_id", `edge_id: got "", want 1 to 128 bytes`},
		{"long edge", &tkcoordv1.ExchangeRequest{EdgeId: strings.Repeat("e", 129), Incarnation: 1, Seq: 1}, codes.InvalidArgument, "edge_id", "edge_id: got"},
		{"control character", &tkcoordv1.ExchangeRequest{EdgeId: "e\n", Incarnation: 1, Seq: 1}, codes.InvalidArgument, "edge_id", `edge_id: got "e\n"`},
		{"no incarnation", &tkcoordv1.ExchangeRequest{EdgeId: "x", Seq: 1}, codes.InvalidArgument, "incarnation", "incarnation: got 0"},
		{"no seq", &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1}, codes.InvalidArgument, "seq", "seq: got 0"},
		{"session of nobody", &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1, Session: 99, Seq: 1}, codes.Aborted, "", "session: 99"},
		{"session of another", &tkcoordv1.ExchangeRequest{EdgeId: "e", Incarnation: 1, Session: b.session + 1, Seq: 1}, codes.Aborted, "", fmt.Sprintf("session: %d", b.session+1)},
		{"other incarnation with its session", &tkcoordv1.ExchangeRequest{EdgeId: "e", Incarnation: 2, Session: b.session, Seq: 1}, codes.Aborted, "", "was not given to incarnation"},
		{"too many asks", &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1, Seq: 1, Asks: many}, codes.InvalidArgument, "asks", "asks: got 4097 of them, want at most 4096"},
		{"more than an entry holds", &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1, Seq: 1, Asks: heavy}, codes.InvalidArgument, "", "asks: command of"},
		{"more than a message", &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1, Seq: 1, Asks: []*tkcoordv1.Ask{{Policy: "api", Key: strings.Repeat("k", api.MaxMessage)}}},
			codes.ResourceExhausted, "", "message larger than max"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := b.edge.Exchange(t.Context(), tt.req)
			wantsField(t, err, tt.code, tt.field, tt.text)
			b.changedNothing(t)
		})
	}
}

// A second process with the identity of an edge takes its place: the first one is
// told so, for good, and what it held stays counted.
func TestDuplicateEdge(t *testing.T) {
	b := newBadInput(t)
	second, err := b.edge.Exchange(t.Context(), &tkcoordv1.ExchangeRequest{
		EdgeId: "e", Incarnation: 2, Seq: 1, Asks: []*tkcoordv1.Ask{{Policy: "api", Key: "k", Need: 100, Want: 100}},
	})
	if err != nil || second.Session == b.session || second.Answers[0].Granted != 92 {
		t.Fatalf("the second: %v, %v; want a session of its own and the 92 credits that the first has not", second, err)
	}
	b.before = booksOf(b.cluster.members[0].proc.node.Replica())
	for range 2 {
		_, err := b.exchange(&tkcoordv1.Ask{Policy: "api", Key: "k", WindowStartMs: b.window, Used: 3, Returned: 7})
		wantsField(t, err, codes.Aborted, "", "incarnation: 0000000000000001")
		if reason, _ := api.Reason(err); reason != api.ReasonEdgeReplaced {
			t.Errorf("reason %q, want %q", reason, api.ReasonEdgeReplaced)
		}
		b.changedNothing(t)
	}
}

func TestBadAdminCalls(t *testing.T) {
	b := newBadInput(t)
	good := func(change func(*tkcoordv1.Policy)) []*tkcoordv1.Policy {
		p := &tkcoordv1.Policy{Name: "new", Strategy: "fixedWindow", Limit: 5, MaxKeys: 5, Cadence: &tkcoordv1.Cadence{Kind: "fixed", PeriodMs: 1000}}
		ok := proto.Clone(p).(*tkcoordv1.Policy)
		ok.Name = "fine"
		change(p)
		return []*tkcoordv1.Policy{ok, p}
	}
	tests := []struct {
		name  string
		req   *tkcoordv1.ApplyPoliciesRequest
		code  codes.Code
		field string
		text  string
	}{
		{"no name", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Name = "" })}, codes.InvalidArgument, "put[1]", "a name must have 1 to 256 bytes"},
		{"no limit", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Limit = 0 })}, codes.InvalidArgument, "put[1]", "limit 0 is outside [1,"},
		{"negative limit", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Limit = -1 })}, codes.InvalidArgument, "put[1]", "limit -1"},
		{"absurd limit", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Limit = math.MaxInt64 })}, codes.InvalidArgument, "put[1]", "limit 9223372036854775807"},
		{"absurd keys", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.MaxKeys = math.MaxInt64 })}, codes.InvalidArgument, "put[1]", "maxKeys 9223372036854775807"},
		{"unknown strategy", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Strategy = "gcra" })}, codes.InvalidArgument, "put[1]", `strategy "gcra"`},
		{"unknown cadence", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Cadence.Kind = "moon" })}, codes.InvalidArgument, "put[1]", "moon"},
		{"no cadence", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Cadence = nil })}, codes.InvalidArgument, "put[1]", "put[1]:"},
		{"negative period", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Cadence.PeriodMs = -1 })}, codes.InvalidArgument, "put[1]", "-1"},
		{"a hole", &tkcoordv1.ApplyPoliciesRequest{Put: []*tkcoordv1.Policy{nil}}, codes.InvalidArgument, "put[0]", "put[0]:"},
		{"one twice", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(p *tkcoordv1.Policy) { p.Name = "fine" })}, codes.InvalidArgument, "put", "each policy once"},
		{"put and deleted", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(*tkcoordv1.Policy) {}), Delete: []string{"api", "new"}}, codes.NotFound, "", `delete: "new": unknown policy`},
		{"unknown deleted", &tkcoordv1.ApplyPoliciesRequest{Delete: []string{"api", "apj"}}, codes.NotFound, "", `delete: "apj": unknown policy`},
		{"deleted without a name", &tkcoordv1.ApplyPoliciesRequest{Delete: []string{""}}, codes.InvalidArgument, "delete[0]", "delete[0]"},
		{"deleted with a long name", &tkcoordv1.ApplyPoliciesRequest{Delete: []string{strings.Repeat("x", 1000)}}, codes.InvalidArgument, "delete[0]", "delete[0]"},
		{"old plan", &tkcoordv1.ApplyPoliciesRequest{Put: good(func(*tkcoordv1.Policy) {}), ExpectVersion: 99}, codes.FailedPrecondition, "", "expect_version: 99, it is 1 now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := b.admin.ApplyPolicies(t.Context(), tt.req)
			wantsField(t, err, tt.code, tt.field, tt.text)
			b.changedNothing(t)
		})
	}
	t.Run("more than an entry holds", func(t *testing.T) {
		req := &tkcoordv1.ApplyPoliciesRequest{}
		for i := range 3000 {
			p := good(func(*tkcoordv1.Policy) {})[0]
			p.Name = fmt.Sprintf("%0200d", i)
			req.Put = append(req.Put, p)
		}
		_, err := b.admin.ApplyPolicies(t.Context(), req)
		wantsField(t, err, codes.InvalidArgument, "", "put: command of")
		b.changedNothing(t)
	})
	t.Run("others", func(t *testing.T) {
		_, err := b.admin.GetPolicies(t.Context(), &tkcoordv1.GetPoliciesRequest{Names: []string{"api", "apj"}})
		wantsField(t, err, codes.NotFound, "", `names: "apj": unknown policy`)
		_, err = b.admin.RemoveMember(t.Context(), &tkcoordv1.RemoveMemberRequest{NodeId: "nobody"})
		wantsField(t, err, codes.NotFound, "", `node_id: "nobody"`)
		_, err = b.admin.RemoveMember(t.Context(), &tkcoordv1.RemoveMemberRequest{NodeId: "n1"})
		wantsField(t, err, codes.FailedPrecondition, "", "majority")
		_, err = b.admin.TransferLeadership(t.Context(), &tkcoordv1.TransferLeadershipRequest{NodeId: "nobody"})
		wantsField(t, err, codes.NotFound, "", `node_id: "nobody"`)
		_, err = b.admin.TransferLeadership(t.Context(), &tkcoordv1.TransferLeadershipRequest{})
		wantsField(t, err, codes.FailedPrecondition, "", "no other voter")
		b.changedNothing(t)
	})
}

// With TLS only who shows a certificate of the cluster's authority is heard, and
// only nodes may use what is between nodes.
func TestStrangersAtTheDoor(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	c := startChildren(t, []string{"a"}, badInputPolicies)
	req := &tkcoordv1.ExchangeRequest{EdgeId: "x", Incarnation: 1, Seq: 1}
	own := c.dial(t)[0]
	if _, err := tkcoordv1.NewEdgeClient(own).Exchange(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	stranger := clientTLS(t, c.tls)
	stranger.Certificates = nil
	other := clientTLS(t, c.tls)
	other.Certificates = clientTLS(t, strangersCertificate(t)).Certificates
	at := c.addresses()[0]
	for name, conn := range map[string]*grpc.ClientConn{
		"no TLS":               dialPlain(t, at),
		"no certificate":       dialTLS(t, at, stranger),
		"of another authority": dialTLS(t, at, other),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := tkcoordv1.NewEdgeClient(conn).Exchange(ctx, req)
		cancel()
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: Exchange = %v, want Unavailable", name, err)
		}
	}
	_, err := tkcoordv1.NewNodeClient(own).Stats(t.Context(), &tkcoordv1.StatsRequest{})
	wantsField(t, err, codes.PermissionDenied, "", "only nodes of this cluster")
	s, err := tkcoordv1.NewAdminClient(own).Status(t.Context(), &tkcoordv1.StatusRequest{})
	if err != nil || s.Edges != 1 {
		t.Errorf("status %v, %v; want the one edge that showed its certificate", s, err)
	}
}
