package netfault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// twoHosts are namespaces a and b on a switch, with a listener and a UDP socket
// at b.
type twoHosts struct {
	table   *Table
	a, b    *Namespace
	tcp     net.Listener
	udp     *net.UDPConn // b's
	client  *net.UDPConn // a's, connected to it
	forward *Link        // a to b
}

const addrA, addrB = "10.77.0.1", "10.77.0.2"

func startHosts(t *testing.T) *twoHosts {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	h := &twoHosts{table: NewTable()}
	h.forward = h.table.Link(Flow{"a", "b", Other})
	s := NewSwitch(h.table, nil, 1)
	open := func(name, at string) *Namespace {
		n, err := OpenNamespace(netip.MustParsePrefix(at + "/24"))
		if errors.Is(err, syscall.EPERM) || errors.Is(err, os.ErrNotExist) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		s.Attach(name, netip.MustParseAddr(at), n.Device)
		return n
	}
	h.a, h.b = open("a", addrA), open("b", addrB)
	background(t, s.Run)
	var err error
	if h.tcp, err = h.b.Listen("tcp", addrB+":7000"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.tcp.Close() })
	if err := h.b.Do(func() (err error) {
		h.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addrB+":7000")))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.udp.Close() })
	c, err := h.a.Dial(t.Context(), "udp", addrB+":7000")
	if err != nil {
		t.Fatal(err)
	}
	h.client = c.(*net.UDPConn)
	t.Cleanup(func() { h.client.Close() })
	for _, c := range []*net.UDPConn{h.udp, h.client} {
		_ = c.SetReadBuffer(8 << 20)
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	return h
}

// burst sends numbered datagrams from a to b and returns the numbers that
// arrived, in order of arrival.
func (h *twoHosts) burst(t *testing.T, count int) []uint32 {
	t.Helper()
	before := h.forward.Counts()
	for i := range count {
		if _, err := h.client.Write(binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	var c Counts
	eventually(t, "the switch has seen all packets", func() bool {
		c = h.forward.Counts()
		return c.Passed+c.Dropped-before.Passed-before.Dropped-(c.Duplicated-before.Duplicated) == int64(count)
	})
	got := make([]uint32, c.Passed-before.Passed)
	buf := make([]byte, 4)
	for i := range got {
		if _, err := h.udp.Read(buf); err != nil {
			t.Fatalf("datagram %d of %d that the switch passed: %v", i, len(got), err)
		}
		got[i] = binary.BigEndian.Uint32(buf)
	}
	return got
}

func TestNamespaces(t *testing.T) {
	h := startHosts(t)

	t.Run("perfect", func(t *testing.T) {
		if got := h.burst(t, 500); len(got) != 500 || !slices.IsSorted(got) {
			t.Errorf("%d of 500 datagrams, in order: %t", len(got), slices.IsSorted(got))
		}
	})
	t.Run("loss", func(t *testing.T) {
		defer h.table.Add(onAll(Effect{Loss: 0.2}))()
		if got := h.burst(t, 2000); len(got) < 1500 || len(got) > 1700 {
			t.Errorf("%d of 2000 datagrams arrived, want about 1600", len(got))
		}
	})
	t.Run("duplication", func(t *testing.T) {
		defer h.table.Add(onAll(Effect{Duplicate: 0.5}))()
		if got := h.burst(t, 1000); len(got) < 1400 || len(got) > 1600 {
			t.Errorf("%d datagrams of 1000 arrived, want about 1500", len(got))
		}
	})
	t.Run("reordering", func(t *testing.T) {
		defer h.table.Add(onAll(Effect{Reorder: 0.1, Behind: 5 * time.Millisecond}))()
		if got := h.burst(t, 1000); len(got) != 1000 || slices.IsSorted(got) {
			t.Errorf("%d of 1000 datagrams, in order: %t", len(got), slices.IsSorted(got))
		}
	})
	t.Run("cut one way", func(t *testing.T) {
		defer h.table.Add(func(f Flow) Effect { return Effect{Cut: f.From == "a"} })()
		if got := h.burst(t, 10); len(got) != 0 {
			t.Errorf("%d datagrams came through a cut", len(got))
		}
		at := net.UDPAddrFromAddrPort(h.client.LocalAddr().(*net.UDPAddr).AddrPort())
		if _, err := h.udp.WriteTo([]byte("back"), at); err != nil {
			t.Fatal(err)
		}
		if n, err := h.client.Read(make([]byte, 10)); n != 4 || err != nil {
			t.Errorf("the other way: %d bytes, %v", n, err)
		}
	})
	t.Run("delay", func(t *testing.T) {
		const delay = 50 * time.Millisecond
		defer h.table.Add(onAll(Effect{Delay: delay}))()
		began := time.Now()
		c, err := h.a.Dial(t.Context(), "tcp", addrB+":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if took := time.Since(began); took < 2*delay || took > 2*delay+time.Second {
			t.Errorf("a TCP handshake took %v, want %v", took, 2*delay)
		}
	})
	t.Run("no connection through a cut", func(t *testing.T) {
		defer h.table.Add(func(f Flow) Effect { return Effect{Cut: f.From == "b"} })()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if c, err := h.a.Dial(ctx, "tcp", addrB+":7000"); err == nil {
			c.Close()
			t.Error("connected")
		}
	})
}

func TestNamespaceThroughput(t *testing.T) {
	h := startHosts(t)
	go func() {
		for {
			c, err := h.tcp.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	c, err := h.a.Dial(t.Context(), "tcp", addrB+":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	withDeadline(c)
	const size = 16 << 20
	began := time.Now()
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f MB/s", size/1e6/time.Since(began).Seconds())
}

// A namespace ends with what holds it: nothing of it is left after Close, and
// the processes that were started on its thread are gone.
func TestNamespaceLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n, err := OpenNamespace(netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Skip(err)
	}
	var inside string
	child := exec.Command("sleep", "1000")
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = n.Do(func() (err error) {
		if inside, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return child.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", child.Process.Pid)); got != inside {
		t.Errorf("a process started on the thread is in %s, want %s", got, inside)
	}
	if own, _ := os.Readlink("/proc/self/ns/net"); own == inside {
		t.Error("the harness itself moved into the namespace")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	if err := child.Wait(); err == nil {
		t.Error("the process was not killed with the namespace")
	}
	if err := n.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close = %v, want ErrClosed", err)
	}
	eventually(t, "no thread is in the namespace", func() bool {
		tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
		return !slices.ContainsFunc(tasks, func(task string) bool {
			in, _ := os.Readlink(task)
			return in == inside
		})
	})
}
