package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"pgregory.net/rapid"
)

// takeApart reads a sealed entry back into commands, in the types that went in.
func takeApart(entry []byte) (header, []Command, error) {
	h, r, err := openEntry(entry)
	if err != nil {
		return h, nil, err
	}
	var cmds []Command
	for range h.count {
		switch k := Kind(r.u8()); k {
		case KindGenesis:
			cmds = append(cmds, r.genesis())
		case KindStep:
			cmds = append(cmds, Step{To: r.millis()})
		case KindExchange:
			v := r.exchangeHead()
			x := &Exchange{EdgeID: string(v.edgeID), Incarnation: v.incarnation, Session: v.session, Seq: v.seq}
			for range v.asks {
				var a askView
				r.ask(&a)
				x.Asks = append(x.Asks, Ask{
					Policy: string(a.policy), Key: string(a.key), Window: a.window,
					Used: a.used, Returned: a.returned, Need: a.need, Want: a.want,
				})
			}
			cmds = append(cmds, x)
		case KindPolicies:
			cmds = append(cmds, r.policies())
		case KindDigest:
			cmds = append(cmds, Digest{})
		case KindAlarm:
			cmds = append(cmds, r.alarm())
		case KindCheck, KindReserve, KindDebit, KindAdmit, KindRelease, KindHeartbeat:
			cmds = append(cmds, r.wholeRequest(k))
		default:
			return h, nil, fmt.Errorf("kind %d", k)
		}
	}
	return h, cmds, r.err
}

// TestCodecRoundTrip: what goes in comes out, for every command.
func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cmds := rapid.SliceOfN(drawCommand(), 0, 5).Draw(t, "commands")
		stamp := clock.Millis(rapid.Int64Range(0, int64(clock.MaxInstant)).Draw(t, "stamp"))
		proposer := rapid.Uint64().Draw(t, "proposer")
		var b Batch
		for _, c := range cmds {
			b.AddEncoded(Encode(c))
		}
		entry := b.Seal(stamp, proposer)
		h, got, err := takeApart(entry)
		if err != nil || h != (header{stamp, proposer, len(cmds)}) || !reflect.DeepEqual(got, some(cmds)) {
			t.Fatalf("got %+v, %+v, %v; want %+v at %d from %d", h, got, err, cmds, stamp, proposer)
		}
		if Proposer(entry) != proposer {
			t.Fatalf("Proposer() = %d, want %d", Proposer(entry), proposer)
		}
		var again Batch
		for _, c := range got {
			again.Add(c)
		}
		if !bytes.Equal(again.Seal(stamp, proposer), entry) {
			t.Fatal("the entry is other bytes when encoded again")
		}
	})
}

func drawCommand() *rapid.Generator[Command] {
	text := rapid.StringN(0, 20, 40)
	millis := rapid.Custom(func(t *rapid.T) clock.Millis {
		return clock.Millis(rapid.Int64Range(0, int64(clock.MaxInstant)).Draw(t, "ms"))
	})
	credits := rapid.Custom(func(t *rapid.T) escrow.Credits {
		return escrow.Credits(rapid.Int64Range(0, int64(escrow.MaxCredits)).Draw(t, "credits"))
	})
	ppm := rapid.Custom(func(t *rapid.T) clock.PPM {
		return clock.PPM(rapid.Int64Range(0, int64(clock.MaxRate)).Draw(t, "ppm"))
	})
	bound := rapid.IntRange(0, math.MaxInt)
	cost := rapid.Int64Range(1, strategy.MaxCost)
	ask := rapid.Custom(func(t *rapid.T) Ask {
		return Ask{
			Policy: text.Draw(t, "policy"), Key: text.Draw(t, "key"), Window: millis.Draw(t, "window"),
			Used: credits.Draw(t, "used"), Returned: credits.Draw(t, "returned"), Need: credits.Draw(t, "need"), Want: credits.Draw(t, "want"),
		}
	})
	cadence := rapid.Custom(func(t *rapid.T) escrow.Cadence {
		return escrow.Cadence{
			Kind: escrow.Kind(rapid.Byte().Draw(t, "kind")), Period: clock.Millis(rapid.Int64().Draw(t, "period")),
			Anchor:        clock.Millis(rapid.Int64().Draw(t, "anchor")),
			OffsetMinutes: rapid.Int32().Draw(t, "offset"), WeekStart: rapid.Int32().Draw(t, "weekStart"),
		}
	})
	double := rapid.Float64()
	params := rapid.Custom(func(t *rapid.T) strategy.Params {
		return strategy.Params{
			Name: strategy.Name(text.Draw(t, "name")), Limit: double.Draw(t, "limit"), Period: double.Draw(t, "period"),
			Burst: double.Draw(t, "burst"), Capacity: double.Draw(t, "capacity"), RefillPerSec: double.Draw(t, "refill"),
			Buckets: bound.Draw(t, "buckets"), Cadence: cadence.Draw(t, "cadence"), Rolling: rapid.Bool().Draw(t, "rolling"),
		}
	})
	tier := rapid.Custom(func(t *rapid.T) policy.Tier {
		return policy.Tier{
			Mode: policy.Mode(text.Draw(t, "mode")), Batch: bound.Draw(t, "batch"), LowWater: double.Draw(t, "lowWater"),
			WindowCoupled: rapid.Bool().Draw(t, "coupled"), ReturnIdleAfter: clock.Millis(rapid.Int64().Draw(t, "idle")),
		}
	})
	guard := rapid.Custom(func(t *rapid.T) concurrency.Config {
		return concurrency.Config{
			MinLimit: bound.Draw(t, "min"), MaxLimit: bound.Draw(t, "max"), InitialLimit: bound.Draw(t, "initial"), RTTWindow: bound.Draw(t, "window"),
			Algorithm: concurrency.Algorithm(text.Draw(t, "algorithm")), Smoothing: double.Draw(t, "smoothing"),
			Tolerance: double.Draw(t, "tolerance"), BackoffRatio: double.Draw(t, "backoff"),
		}
	})
	pol := rapid.Custom(func(t *rapid.T) policy.Policy {
		return policy.Policy{
			Name: text.Draw(t, "name"), Kind: policy.Kind(rapid.Byte().Draw(t, "kind")),
			Strategy: policy.Strategy(text.Draw(t, "strategy")), Limit: credits.Draw(t, "limit"), Cadence: cadence.Draw(t, "cadence"),
			MaxKeys: bound.Draw(t, "maxKeys"), Rate: params.Draw(t, "rate"), Tier: tier.Draw(t, "tier"),
			Batch: bound.Draw(t, "batch"), Meter: policy.MeterName(text.Draw(t, "meter")), Guard: guard.Draw(t, "guard"),
		}
	})
	return rapid.Custom(func(t *rapid.T) Command {
		switch Kind(rapid.IntRange(int(KindGenesis), int(KindHeartbeat)).Draw(t, "kind")) {
		case KindGenesis:
			return Genesis{ClusterID: text.Draw(t, "cluster"), Settings: Settings{
				Rates:        clock.Rates{Drift: ppm.Draw(t, "drift"), Slew: ppm.Draw(t, "slew")},
				LongestLease: millis.Draw(t, "longest"), SessionIdle: millis.Draw(t, "idle"),
				MaxBudgets: bound.Draw(t, "budgets"), MaxEdges: bound.Draw(t, "edges"), MaxHolders: bound.Draw(t, "holders"),
			}}
		case KindStep:
			return Step{To: millis.Draw(t, "to")}
		case KindExchange:
			return &Exchange{
				EdgeID: text.Draw(t, "edge"), Incarnation: rapid.Uint64().Draw(t, "incarnation"),
				Session: escrow.HolderID(rapid.Uint64().Draw(t, "session")), Seq: rapid.Uint64().Draw(t, "seq"),
				Asks: some(rapid.SliceOfN(ask, 0, 3).Draw(t, "asks")),
			}
		case KindPolicies:
			return Policies{
				Put:    some(rapid.SliceOfN(pol, 0, 3).Draw(t, "put")),
				Delete: some(rapid.SliceOfN(text, 0, 3).Draw(t, "delete")), Expect: rapid.Uint64().Draw(t, "expect"),
			}
		case KindAlarm:
			return Alarm{Kind: text.Draw(t, "kind"), Node: text.Draw(t, "node"), Detail: text.Draw(t, "detail"), Clear: rapid.Bool().Draw(t, "clear")}
		case KindCheck:
			return &Check{Policy: text.Draw(t, "policy"), Keys: some(rapid.SliceOfN(text, 0, 3).Draw(t, "keys")), Cost: cost.Draw(t, "cost")}
		case KindReserve:
			return &Reserve{Policy: text.Draw(t, "policy"), Key: text.Draw(t, "key"), Wants: cost.Draw(t, "wants")}
		case KindDebit:
			return &Debit{Policy: text.Draw(t, "policy"), Key: text.Draw(t, "key"), Tokens: cost.Draw(t, "tokens")}
		case KindAdmit:
			c := &Admit{Policy: text.Draw(t, "policy"), Key: text.Draw(t, "key")}
			copy(c.Nonce[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce"))
			return c
		case KindRelease:
			return &Release{LeaseID: text.Draw(t, "lease"), Dropped: rapid.Bool().Draw(t, "dropped")}
		case KindHeartbeat:
			return &Heartbeat{LeaseIDs: some(rapid.SliceOfN(text, 0, 3).Draw(t, "leases"))}
		}
		return Digest{}
	})
}

// some turns an empty list into nil, as which it is read back.
func some[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// TestUnreadableIsNotProposed: a command that the decoder would refuse halts
// every replica for good once it is in the log, so Encode does not let it pass.
// Validate, which doors call, must have refused it before: a policy name of 257
// bytes or a window in the year 10001 in an ask once passed.
func TestUnreadableIsNotProposed(t *testing.T) {
	long := strings.Repeat("x", 5000)
	good := Ask{Policy: "p", Key: "k", Need: 1, Want: 1}
	with := func(change func(*Ask)) *Exchange {
		a := good
		change(&a)
		return &Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: []Ask{a}}
	}
	settings := func(change func(*Settings)) Genesis {
		s := DefaultSettings()
		change(&s)
		return Genesis{ClusterID: "c", Settings: s}
	}
	for _, tc := range []struct {
		name  string
		cmd   Command
		field string
	}{
		{"policy name", with(func(a *Ask) { a.Policy = long[:policy.MaxNameLen+1] }), "policy"},
		{"key", with(func(a *Ask) { a.Key = long[:MaxKeyLen+1] }), "key"},
		{"window", with(func(a *Ask) { a.Window = clock.MaxInstant + 1 }), "window_start_ms"},
		{"negative window", with(func(a *Ask) { a.Window = -1 }), "window_start_ms"},
		{"used", with(func(a *Ask) { a.Window, a.Used = 1, escrow.MaxCredits+1 }), "used"},
		{"returned", with(func(a *Ask) { a.Window, a.Returned = 1, -1 }), "returned"},
		{"want", with(func(a *Ask) { a.Want = escrow.MaxCredits + 1 }), "want"},
		{"need", with(func(a *Ask) { a.Need = -1 }), "need"},
		{"edge id", &Exchange{EdgeID: long[:MaxEdgeIDLen+1], Incarnation: 1, Seq: 1}, "edge_id"},
		{"asks", &Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: make([]Ask, MaxAsks+1)}, "asks"},
		{"cluster id", Genesis{ClusterID: long, Settings: DefaultSettings()}, "cluster_id"},
		{"drift", settings(func(s *Settings) { s.Rates.Drift = clock.MaxRate + 1 }), "rates"},
		{"slew", settings(func(s *Settings) { s.Rates.Slew = -1 }), "rates"},
		{"longest lease", settings(func(s *Settings) { s.LongestLease = -1 }), "max_lease_ttl"},
		{"session idle", settings(func(s *Settings) { s.SessionIdle = clock.MaxInstant + 1 }), "session_idle"},
		{"budgets", settings(func(s *Settings) { s.MaxBudgets = -1 }), "max_budgets"},
		{"edges", settings(func(s *Settings) { s.MaxEdges = -1 }), "max_edges"},
		{"holders", settings(func(s *Settings) { s.MaxHolders = -1 }), "max_holders"},
		{"step", Step{To: clock.MaxInstant + 1}, "to"},
		{"step back", Step{To: -1}, "to"},
		{"put", Policies{Put: make([]policy.Policy, maxPolicyBatch+1)}, "put"},
		{"policy", Policies{Put: []policy.Policy{{Name: long}}}, "put[0]"},
		{"delete", Policies{Delete: make([]string, maxPolicyBatch+1)}, "delete"},
		{"deleted name", Policies{Delete: []string{"a", long}}, "delete[1]"},
		{"alarm kind", Alarm{Kind: long[:65], Node: "n"}, "kind"},
		{"alarm node", Alarm{Kind: "k", Node: long[:maxNodeIDLen+1]}, "node_id"},
		{"check of a policy", &Check{Policy: long, Cost: 1}, "policy"},
		{"keys", &Check{Policy: "p", Keys: make([]string, MaxCheckKeys+1), Cost: 1}, "keys"},
		{"key of a check", &Check{Policy: "p", Keys: []string{"a", long}, Cost: 1}, "keys[1]"},
		{"cost", &Check{Policy: "p", Cost: strategy.MaxCost + 1}, "cost"},
		{"no cost", &Check{Policy: "p"}, "cost"},
		{"wants", &Reserve{Policy: "p", Wants: -1}, "wants"},
		{"key of a reserve", &Reserve{Policy: "p", Key: long, Wants: 1}, "key"},
		{"tokens", &Debit{Policy: "p", Tokens: strategy.MaxCost + 1}, "tokens"},
		{"debit of a policy", &Debit{Policy: long, Tokens: 1}, "policy"},
		{"key of an admit", &Admit{Policy: "p", Key: long}, "key"},
		{"lease id", &Release{LeaseID: long[:MaxLeaseIDLen+1]}, "lease_id"},
		{"lease ids", &Heartbeat{LeaseIDs: make([]string, MaxLeaseIDs+1)}, "lease_ids"},
		{"one lease id", &Heartbeat{LeaseIDs: []string{"", long}}, "lease_ids[1]"},
		{"alarm detail", Alarm{Kind: "k", Node: "n", Detail: long}, "detail"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.cmd.Validate()
			if x, ok := tc.cmd.(*Exchange); ok && err == nil && len(x.Asks) > 0 {
				err = x.Asks[0].Validate()
			}
			if field, ok := errors.AsType[*FieldError](err); !ok || field.Field != tc.field {
				t.Errorf("Validate() = %v, want a FieldError about %s", err, tc.field)
			}
			defer func() {
				if recover() == nil {
					t.Error("Encode let it pass")
				}
			}()
			Encode(tc.cmd)
		})
	}
}

// TestSealRefuses entries that no replica would read.
func TestSealRefuses(t *testing.T) {
	var full Batch
	for range MaxBatchCmds + 1 {
		full.Add(Digest{})
	}
	for name, seal := range map[string]func(){
		"too many commands": func() { full.Seal(1, 1) },
		"before 1970":       func() { new(Batch).Seal(-1, 1) },
		"after 9999":        func() { new(Batch).Seal(clock.MaxInstant+1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("Seal let it pass")
				}
			}()
			seal()
		})
	}
}
