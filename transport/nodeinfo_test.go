package transport

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"
)

func drawNodeInfo(t *rapid.T) NodeInfo {
	text := func(label string, most int) string {
		return rapid.StringN(0, -1, most).Draw(t, label)
	}
	return NodeInfo{
		Cluster: text("cluster", 60), ClusterID: text("cluster id", maxClusterID), Region: text("region", 40),
		RaftAddress: text("raft", 60), GRPCAddress: text("grpc", 60), HTTPAddress: text("http", 60), Version: text("version", 40),
		LogVersion: rapid.Uint32().Draw(t, "log version"), Expect: rapid.Uint32().Draw(t, "expect"),
		Founding: rapid.Uint64().Draw(t, "founding"),
		HasState: rapid.Bool().Draw(t, "state"), Removed: rapid.Bool().Draw(t, "removed"),
		Leaving: rapid.Bool().Draw(t, "leaving"),
	}
}

func TestNodeInfoRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNodeInfo(t)
		b := n.encode()
		if n.fits() == nil && len(b) > memberlist.MetaMaxSize {
			t.Fatalf("%d bytes, and fits", len(b))
		}
		later := append(b, "fields of a later version"...)
		for _, in := range [][]byte{b, later} {
			if got, err := decodeNodeInfo(in); got != n || err != nil {
				t.Fatalf("decoded %+v, %v, want %+v", got, err, n)
			}
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if got, err := decodeNodeInfo(b[:cut]); !errors.Is(err, errNodeInfo) || got != (NodeInfo{}) {
			t.Fatalf("decoded %d of %d bytes: %+v, %v", cut, len(b), got, err)
		}
	})
}

func TestNodeInfoOtherVersion(t *testing.T) {
	n := NodeInfo{Cluster: "c"}
	b := n.encode()
	b[0]++
	if _, err := decodeNodeInfo(b); !errors.Is(err, errNodeInfo) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("decode = %v", err)
	}
}

// The cluster id becomes known while the node runs; then it is too late to say
// that there is no room.
func TestNodeInfoFits(t *testing.T) {
	n := NodeInfo{Cluster: "c", RaftAddress: strings.Repeat("r", 400)}
	for n.fits() == nil {
		n.RaftAddress += "r"
	}
	if err := n.fits(); !strings.Contains(err.Error(), "raft address 4") {
		t.Errorf("fits() = %v, does not name the culprit", err)
	}
	n.RaftAddress = n.RaftAddress[1:]
	n.ClusterID = strings.Repeat("i", maxClusterID)
	n.LogVersion, n.Expect = 1<<32-1, 1<<32-1
	if got := len(n.encode()); got > memberlist.MetaMaxSize || got < memberlist.MetaMaxSize-3 {
		t.Errorf("largest that fits has %d bytes of %d", got, memberlist.MetaMaxSize)
	}
}

func FuzzDecodeNodeInfo(f *testing.F) {
	n := NodeInfo{Cluster: "c", ClusterID: "i", RaftAddress: "127.0.0.1:7701", Expect: 3, HasState: true}
	f.Add(n.encode())
	f.Add([]byte{nodeInfoVersion, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNodeInfo(b)
		if err != nil {
			return
		}
		again, err := decodeNodeInfo(n.encode())
		if err != nil || again != n || !bytes.Equal(again.encode(), n.encode()) {
			t.Fatalf("%+v became %+v, %v", n, again, err)
		}
	})
}
