package netfault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
)

// maxPacket is the largest IPv4 packet.
const maxPacket = 65535

// A Switch forwards IPv4 packets between hosts, each flow as the table says.
// What is addressed to no host is dropped.
//
// Attach all hosts, then call Run.
type Switch struct {
	table *Table
	ports Ports
	seed  uint64

	hosts map[netip.Addr]*attached
}

// attached is one host: its device reads what the host sends, and writes what
// it receives.
type attached struct {
	name   string
	device io.ReadWriteCloser

	lines map[lineKey]*line // to other hosts; owned by the goroutine that reads device
}

type lineKey struct {
	to    netip.Addr
	class Class
}

// NewSwitch returns a switch without hosts. Equal seeds mistreat equal sequences
// of packets equally.
func NewSwitch(t *Table, p Ports, seed uint64) *Switch {
	return &Switch{table: t, ports: p, seed: seed, hosts: make(map[netip.Addr]*attached)}
}

// Attach adds a host. The switch owns the device from Run on; it must carry one
// packet in each read and write.
func (s *Switch) Attach(name string, at netip.Addr, device io.ReadWriteCloser) {
	s.hosts[at] = &attached{name: name, device: device, lines: make(map[lineKey]*line)}
}

// Run forwards until ctx ends or a device fails. Then it closes all devices;
// packets on their way are lost.
func (s *Switch) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	failed := make(chan error, len(s.hosts))
	for _, h := range s.hosts {
		readers.Go(func() {
			if err := s.forward(h); err != nil {
				failed <- fmt.Errorf("switch: host %s: %w", h.name, err)
			}
		})
	}
	var errs []error
	select {
	case <-ctx.Done():
	case err := <-failed:
		errs = append(errs, err)
	}
	for _, h := range s.hosts {
		errs = append(errs, h.device.Close())
	}
	readers.Wait()
	return errors.Join(errs...)
}

// forward sends on what one host sends, until its device is closed.
func (s *Switch) forward(h *attached) error {
	defer func() {
		for _, l := range h.lines {
			l.close()
		}
	}()
	buf := make([]byte, maxPacket)
	for {
		n, err := h.device.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if l := s.line(h, buf[:n]); l != nil {
			l.send(buf[:n])
		}
	}
}

// line returns the way that a packet takes, nil if it leads nowhere.
func (s *Switch) line(h *attached, packet []byte) *line {
	head, ok := parseHeader(packet)
	if !ok {
		return nil
	}
	to := s.hosts[head.to.Addr()]
	if to == nil || to == h {
		return nil
	}
	key := lineKey{head.to.Addr(), s.ports.Classify(head.from.Port(), head.to.Port())}
	l := h.lines[key]
	if l == nil {
		link := s.table.Link(Flow{h.name, to.name, key.class})
		l = newLine(link, linkRand(s.seed, link.Flow()), func(p []byte) {
			_, _ = to.device.Write(p) // a host that does not take a packet has lost it, as on any network
		})
		h.lines[key] = l
	}
	return l
}

// linkRand returns the randomness of one flow. It depends on the seed and the
// flow only, not on the order in which flows begin.
func linkRand(seed uint64, f Flow) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(f.From + "\x00" + f.To + "\x00" + f.Class.String()) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}
