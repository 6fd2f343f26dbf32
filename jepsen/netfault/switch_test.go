package netfault

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
)

// A wire is a device without a kernel: a test sends on it and receives from it.
type wire struct {
	sent, received chan []byte
	closed         chan struct{}
}

func newWire() *wire {
	return &wire{make(chan []byte), make(chan []byte, 100), make(chan struct{})}
}

func (w *wire) Read(p []byte) (int, error) {
	select {
	case b := <-w.sent:
		return copy(p, b), nil
	case <-w.closed:
		return 0, os.ErrClosed
	}
}

func (w *wire) Write(p []byte) (int, error) {
	w.received <- append([]byte(nil), p...)
	return len(p), nil
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

// udp makes a packet without payload.
func udp(from, to string) []byte {
	f, t := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	p := make([]byte, 28)
	p[0], p[9] = 0x45, protocolUDP
	copy(p[12:], f.Addr().AsSlice())
	copy(p[16:], t.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], f.Port())
	binary.BigEndian.PutUint16(p[22:], t.Port())
	return p
}

func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable()
		s := NewSwitch(table, Ports{7701: Raft, 7702: Gossip}, 1)
		wires := map[string]*wire{}
		for name, at := range map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"} {
			wires[name] = newWire()
			s.Attach(name, netip.MustParseAddr(at), wires[name])
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()

		table.Add(func(f Flow) Effect { return Effect{Cut: f == Flow{"a", "b", Gossip}} })
		for _, tt := range []struct{ from, src, dst, to string }{
			{"a", "10.0.0.1:50000", "10.0.0.2:7701", "b"},
			{"a", "10.0.0.1:7701", "10.0.0.2:50000", "b"},
			{"a", "10.0.0.1:7702", "10.0.0.2:7702", ""}, // cut
			{"a", "10.0.0.1:50000", "10.0.0.2:7702", ""},
			{"b", "10.0.0.2:7702", "10.0.0.1:7702", "a"}, // not this way
			{"a", "10.0.0.1:7702", "10.0.0.3:7702", "c"}, // nor there
			{"a", "10.0.0.1:7702", "10.0.0.9:7702", ""},  // no such host
			{"a", "10.0.0.1:7702", "10.0.0.1:7702", ""},  // never back to where it came from
		} {
			wires[tt.from].sent <- udp(tt.src, tt.dst)
			synctest.Wait()
			for name, w := range wires {
				if got, want := len(w.received) == 1, name == tt.to; got != want {
					t.Errorf("%s -> %s: %s received it: %t, want %t", tt.src, tt.dst, name, got, want)
				}
				if len(w.received) > 0 {
					<-w.received
				}
			}
		}
		wires["a"].sent <- []byte{0x60, 0, 0} // not IPv4
		synctest.Wait()
		if got, want := table.Counts()[Flow{"a", "b", Gossip}], (Counts{Dropped: 2}); got != want {
			t.Errorf("gossip a->b: %+v, want %+v", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSwitchFailsWithADevice(t *testing.T) {
	s := NewSwitch(NewTable(), nil, 1)
	whole, broken := newWire(), brokenDevice{}
	s.Attach("a", netip.MustParseAddr("10.0.0.1"), whole)
	s.Attach("b", netip.MustParseAddr("10.0.0.2"), broken)
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run returned nil although a device broke")
	}
	<-whole.closed
}

type brokenDevice struct{ io.Writer }

func (brokenDevice) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (brokenDevice) Close() error             { return nil }

func TestParseHeader(t *testing.T) {
	for _, tt := range []struct {
		name     string
		edit     func([]byte) []byte
		ok       bool
		from, to string
	}{
		{"UDP", func(p []byte) []byte { return p }, true, "10.0.0.1:1", "10.0.0.2:2"},
		{"later fragment", func(p []byte) []byte { p[7] = 1; return p }, true, "10.0.0.1:0", "10.0.0.2:0"},
		{"ICMP", func(p []byte) []byte { p[9] = 1; return p }, true, "10.0.0.1:0", "10.0.0.2:0"},
		{"cut short behind the header", func(p []byte) []byte { return p[:22] }, true, "10.0.0.1:0", "10.0.0.2:0"},
		{"options", func(p []byte) []byte { p[0] = 0x46; return append(p[:24:24], p[20:]...) }, true, "10.0.0.1:1", "10.0.0.2:2"},
		{"cut short", func(p []byte) []byte { return p[:19] }, false, "", ""},
		{"IPv6", func(p []byte) []byte { p[0] = 0x60; return p }, false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, ok := parseHeader(tt.edit(udp("10.0.0.1:1", "10.0.0.2:2")))
			if ok != tt.ok || ok && (h.from.String() != tt.from || h.to.String() != tt.to) {
				t.Errorf("from %v to %v, %t, want from %s to %s, %t", h.from, h.to, ok, tt.from, tt.to, tt.ok)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(udp("10.0.0.1:1", "10.0.0.2:2"))
	f.Fuzz(func(t *testing.T, p []byte) { parseHeader(p) })
}

// The same seed mistreats the same packets, whichever flow began first.
func TestLinkRandIsOfTheFlow(t *testing.T) {
	ab, ba := Flow{"a", "b", Raft}, Flow{"b", "a", Raft}
	if linkRand(1, ab).Uint64() != linkRand(1, ab).Uint64() {
		t.Error("two streams for one flow")
	}
	if linkRand(1, ab).Uint64() == linkRand(1, ba).Uint64() || linkRand(1, ab).Uint64() == linkRand(2, ab).Uint64() {
		t.Error("one stream for two flows or two seeds")
	}
}
