package api

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func TestOnThisMachine(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:4711":             true,
		"127.9.8.7:1":                true,
		"[::1]:4711":                 true,
		"[::ffff:127.0.0.1]:4711":    true,
		"ipv4:127.0.0.1:4711":        true,
		"ipv6:[::1]:4711":            true,
		"ipv6:%5B::1%5D:4711":        false,
		"::1":                        true,
		"localhost:80":               true,
		"unix:/tmp/s":                true,
		"unix:@abstract":             true,
		"10.0.0.1:4711":              false,
		"[2001:db8::1]:4711":         false,
		"[::ffff:10.0.0.1]:4711":     false,
		"localhost.example.com:80":   false,
		"127.0.0.1.example.com:80":   false,
		"example.com:127":            false,
		"0.0.0.0:80":                 false,
		"[::]:80":                    false,
		"":                           false,
		"128.0.0.1:80":               false,
		"ipv4:10.0.0.1:4711":         false,
		"[fe80::1%lo]:80":            false,
		"unixy:/tmp/s":               false,
		"[::ffff:127.0.0.1.9]:80":    false,
		"127.0.0.1":                  true,
		"ipv4:127.0.0.1":             true,
		"[::1]":                      true,
		"bufconn":                    false,
		"@":                          false,
		"127.0.0.1:80:90":            false,
		"2130706433:80":              false,
		"0x7f000001:80":              false,
		"0177.0.0.1:80":              false,
		"[::ffff:7f00:1]:80":         true,
		"LOCALHOST:80":               false,
		"[0:0:0:0:0:0:0:1]:80":       true,
		"[::127.0.0.1]:80":           false,
		"ipv6:[::ffff:127.0.0.1]:80": true,
	} {
		if got := onThisMachine("tcp", address); got != want {
			t.Errorf("onThisMachine(tcp, %q) = %v", address, got)
		}
	}
	if !onThisMachine("unix", "@") || !onThisMachine("unix", "") {
		t.Error("a unix socket without a name is not on this machine")
	}
}

func TestSecretGate(t *testing.T) {
	near, far := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9}
	open := &secretGate{name: "fleet", header: fleetSecret}
	locked := &secretGate{name: "fleet", header: fleetSecret, secret: "pass word"}
	for _, c := range []struct {
		name string
		gate *secretGate
		from net.Addr
		show []string // metadata
		want bool
	}{
		{"no secret, near", open, near, nil, true},
		{"no secret, far", open, far, nil, false},
		{"no secret, far, shows one", open, far, []string{fleetSecret, "x"}, false},
		{"no secret, near, shows one", open, near, []string{fleetSecret, "x"}, true},
		{"no secret, from nowhere", open, nil, nil, false},
		{"near without", locked, near, nil, false},
		{"near with", locked, near, []string{fleetSecret, "pass word"}, true},
		{"far with", locked, far, []string{fleetSecret, "pass word"}, true},
		{"far, other header", locked, far, []string{monitorSecret, "pass word"}, false},
		{"wrong", locked, near, []string{fleetSecret, "pass wor"}, false},
		{"longer", locked, near, []string{fleetSecret, "pass word "}, false},
		{"only the first counts", locked, near, []string{fleetSecret, "wrong", fleetSecret, "pass word"}, false},
		{"empty, then bearer", locked, near, []string{fleetSecret, "", "authorization", "Bearer pass word"}, true},
		{"wrong, then bearer", locked, near, []string{fleetSecret, "wrong", "authorization", "Bearer pass word"}, false},
		{"bearer", locked, far, []string{"authorization", "bEaReR \t pass word"}, true},
		{"bearer, second", locked, far, []string{"authorization", "Basic x", "authorization", "Bearer pass word"}, false},
		{"bearer without a blank", locked, far, []string{"authorization", "Bearerpass word"}, false},
		{"bearer without a token", locked, far, []string{"authorization", "Bearer "}, false},
		{"basic", locked, far, []string{"authorization", "Basic pass word"}, false},
		{"bare", locked, far, []string{"authorization", "pass word"}, false},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(c.show...))
		if c.from != nil {
			ctx = peer.NewContext(ctx, &peer.Peer{Addr: c.from})
		}
		err := c.gate.permit(ctx)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (status.Code(err) != codes.Unauthenticated || !strings.HasPrefix(status.Convert(err).Message(), "fleet: ") || strings.Contains(err.Error(), "pass word")) {
			t.Errorf("%s: %v, want Unauthenticated, fleet: ..., and no secret", c.name, err)
		}
	}
}

// Fleet and Monitor ask for their own secrets, in calls and in streams; the other
// services ask for none.
func TestDoorsAskForSecrets(t *testing.T) {
	n := startNodes(t, 1, contractPolicies, func(c *Config) { c.FleetSecret, c.MonitorSecret = "f", "m" }).nodes[0]
	with := func(header, secret string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), header, secret)
	}
	watch := func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := throttlekitv1.NewMonitorClient(n.conn).Watch(ctx, &throttlekitv1.WatchRequest{})
		if err != nil {
			return err
		}
		if header, err := s.Header(); err != nil || header != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	snapshot := func(ctx context.Context) error {
		_, err := throttlekitv1.NewMonitorClient(n.conn).GetSnapshot(ctx, &throttlekitv1.GetSnapshotRequest{})
		return err
	}
	reserve := func(ctx context.Context) error {
		_, err := n.fleetClient().Reserve(ctx, &throttlekitv1.ReserveRequest{Policy: "none", Axis: throttlekitv1.Axis_AXIS_CONCURRENCY})
		return err
	}
	check := func(ctx context.Context) error {
		_, err := n.rate().Check(ctx, &throttlekitv1.CheckRequest{Policy: "window", Key: "k"})
		return err
	}
	for _, c := range []struct {
		name string
		call func(context.Context) error
		ctx  context.Context
		want codes.Code
		text string
	}{
		{"check", check, t.Context(), codes.OK, ""},
		{"reserve", reserve, t.Context(), codes.Unauthenticated, "fleet:"},
		{"reserve with Monitor's secret", reserve, with(monitorSecret, "m"), codes.Unauthenticated, "fleet:"},
		{"reserve with the secret", reserve, with(fleetSecret, "f"), codes.NotFound, `fleet: no leasable policy "none"`},
		{"snapshot", snapshot, t.Context(), codes.Unauthenticated, "monitor:"},
		{"snapshot with Fleet's secret", snapshot, with(fleetSecret, "f"), codes.Unauthenticated, "monitor:"},
		{"snapshot with the secret", snapshot, with("authorization", "Bearer m"), codes.OK, ""},
		{"watch", watch, t.Context(), codes.Unauthenticated, "monitor:"},
		{"watch with the secret", watch, with(monitorSecret, "m"), codes.OK, ""},
	} {
		err := c.call(c.ctx)
		if status.Code(err) != c.want || !strings.HasPrefix(status.Convert(err).Message(), c.text) {
			t.Errorf("%s: %v, want %v beginning with %q", c.name, err, c.want, c.text)
		}
	}
}
