package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A secretGate lets callers of one service in who show its secret or, where none
// is set, who are on this machine. The rules are the contract's.
type secretGate struct {
	name   string // that errors begin with
	header string // request metadata that may carry the secret
	secret string // "" is none
}

// fleetSecret is the request metadata that shows the secret of Fleet.
const fleetSecret = "x-fleet-secret"

// permit returns nil, or a status that says what is missing.
func (g *secretGate) permit(ctx context.Context) error {
	if g.secret == "" {
		p, ok := peer.FromContext(ctx)
		if ok && p.Addr != nil && onThisMachine(p.Addr.Network(), p.Addr.String()) {
			return nil
		}
		return status.Errorf(codes.Unauthenticated, "%s: no secret is set, so only callers on the node's own machine are served", g.name)
	}
	shown, ok := g.shown(ctx)
	switch {
	case !ok:
		return status.Errorf(codes.Unauthenticated, "%s: a secret is wanted, in %s or as a bearer token in authorization", g.name, g.header)
	case !equalSecrets(shown, g.secret):
		return status.Errorf(codes.Unauthenticated, "%s: the secret is not the right one", g.name)
	}
	return nil
}

var bearer = regexp.MustCompile(`(?i)^bearer\s+(.+)$`)

// shown returns the secret that a caller presents.
func (g *secretGate) shown(ctx context.Context) (string, bool) {
	if all := metadata.ValueFromIncomingContext(ctx, g.header); len(all) > 0 && all[0] != "" {
		return all[0], true
	}
	if all := metadata.ValueFromIncomingContext(ctx, "authorization"); len(all) > 0 {
		if m := bearer.FindStringSubmatch(all[0]); m != nil {
			return m[1], true
		}
	}
	return "", false
}

// equalSecrets takes the same time whatever is shown.
func equalSecrets(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// onThisMachine reports whether a peer's address is one that only processes of
// this machine have.
func onThisMachine(network, address string) bool {
	if network == "unix" {
		return true
	}
	scheme, rest, ok := strings.Cut(address, ":")
	switch {
	case ok && scheme == "unix":
		return true
	case ok && (scheme == "ipv4" || scheme == "ipv6"):
		address = rest
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
