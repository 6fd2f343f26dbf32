package fsm

import (
	"reflect"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/policy"
)

func TestDecodeReversesSeal(t *testing.T) {
	want := []Command{
		Genesis{ClusterID: "c", Settings: DefaultSettings()},
		Step{To: 5},
		&Exchange{EdgeID: "e", Incarnation: 1 << 60, Session: 3, Seq: 9, Asks: []Ask{
			{Policy: "p", Key: "k", Window: 10, Used: 1, Returned: 2, Need: 3, Want: 4}, {Policy: "q", Key: "l"},
		}},
		Policies{Put: []policy.Policy{{Name: "p", Limit: 7, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, MaxKeys: 2}}, Delete: []string{"q"}, Expect: 1},
		Digest{},
		Alarm{Kind: "digest", Node: "n1", Detail: "d", Clear: true},
		&Check{Policy: "p", Keys: []string{"k", ""}, Cost: 5},
		&Reserve{Policy: "p", Key: "k", Wants: 1 << 50},
		&Debit{Policy: "p", Key: "", Tokens: 3},
		&Admit{Policy: "p", Key: "k", Nonce: [16]byte{15: 1}},
		&Release{LeaseID: "5-00", Dropped: true},
		&Heartbeat{LeaseIDs: []string{"a", "b"}},
	}
	var b Batch
	for _, c := range want {
		b.Add(c)
	}
	entry := b.Seal(1234, 42)
	got, err := Decode(entry)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stamp != 1234 || got.Proposer != 42 || !reflect.DeepEqual(got.Commands, want) {
		t.Errorf("Decode() = %+v, want the commands that were sealed", got)
	}
	clear(entry) // nothing of the entry is shared
	if !reflect.DeepEqual(got.Commands, want) {
		t.Error("what was decoded changed with the entry")
	}
}

// FuzzDecode holds Decode to what Apply accepts: an entry that Apply takes can be
// taken apart, and one that Decode refuses halts a replica.
func FuzzDecode(f *testing.F) {
	var b Batch
	b.Add(Genesis{ClusterID: "c", Settings: DefaultSettings()})
	b.Add(&Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: []Ask{{Policy: "p", Key: "k", Want: 4}}})
	f.Add(b.Seal(1234, 42))
	b.Reset()
	f.Add(b.Seal(1, 1))
	f.Fuzz(func(t *testing.T, entry []byte) {
		_, derr := Decode(entry)
		m := New()
		m.clusterID = "c"
		_, aerr := m.Apply(1, entry, false)
		if (derr == nil) != (aerr == nil) {
			t.Errorf("Decode: %v, Apply: %v", derr, aerr)
		}
	})
}
