// Package clientip makes a key out of the address that a request comes from.
//
// Behind proxies that address is in X-Forwarded-For, which anybody can forge: a
// client that may write it mints as many keys as it likes. So it is ignored
// unless the proxies in front are declared.
package clientip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Trust says which proxies in front of the server are believed. The zero Trust
// believes none, so the key is the peer's own address.
type Trust struct {
	hops int
	nets []netip.Prefix
}

// Hops trusts the n proxies nearest to the server: of the forwarded addresses
// followed by the peer's, the one n places before the last is the client's, or
// the first if there are fewer. Too large an n lets clients choose their key.
func Hops(n int) (Trust, error) {
	if n < 0 {
		return Trust{}, fmt.Errorf("%d trusted hops, want 0 or more", n)
	}
	return Trust{hops: n}, nil
}

// Networks trusts proxies with addresses in these networks, in CIDR notation or
// as single addresses: from the peer backwards, the first address that is in
// none of them is the client's, or the leftmost if all are. It reports all
// networks that it cannot read.
func Networks(cidrs ...string) (Trust, error) {
	var errs []error
	t := Trust{nets: make([]netip.Prefix, 0, len(cidrs))}
	for _, c := range cidrs {
		p, err := network(c)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted network %q: %w", c, err))
		}
		t.nets = append(t.nets, p)
	}
	if err := errors.Join(errs...); err != nil {
		return Trust{}, err
	}
	return t, nil
}

// network reads a network. One of IPv4-mapped IPv6 addresses is one of IPv4.
func network(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// A Rule makes keys. Its methods may be called by any number of goroutines.
type Rule struct {
	Trust Trust
	// IPv6Prefix is how many bits of an IPv6 address make a key, 0 to 128; other
	// values mean 64. A client usually has a whole /64 to choose addresses from:
	// a longer prefix lets it rotate through them, a shorter one throws
	// neighbours together. IPv4 addresses are taken whole.
	IPv6Prefix int
	// Fallback is the key of requests whose address is missing or malformed. They
	// share one budget.
	Fallback string
}

// Default returns the rule that trusts nobody, masks IPv6 to /64 and calls the
// rest "anon".
func Default() Rule { return Rule{IPv6Prefix: 64, Fallback: "anon"} }

// Key returns the key of a request. peer is the other end of the connection,
// with or without a port; forwarded are the values of X-Forwarded-For in the
// order of their lines.
func (r Rule) Key(peer string, forwarded []string) string {
	a := r.client(socket(peer), forwarded)
	if !a.IsValid() {
		return r.Fallback
	}
	if a.Is4() {
		return a.String()
	}
	bits := r.IPv6Prefix
	if bits < 0 || bits > 128 {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return r.Fallback
	}
	return p.Addr().String()
}

// client picks the client's address; invalid if it is not known.
func (r Rule) client(peer netip.Addr, forwarded []string) netip.Addr {
	if r.Trust.hops == 0 && len(r.Trust.nets) == 0 {
		return peer
	}
	chain := append(list(forwarded), peer)
	last := len(chain) - 1
	if r.Trust.hops > 0 {
		return chain[max(0, last-r.Trust.hops)]
	}
	for i := last; i > 0; i-- {
		if !r.Trust.in(chain[i]) {
			return chain[i]
		}
	}
	return chain[0]
}

func (t Trust) in(a netip.Addr) bool {
	for _, n := range t.nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// list reads the addresses of X-Forwarded-For. Tokens that are not one are
// dropped.
func list(forwarded []string) []netip.Addr {
	var chain []netip.Addr
	for _, line := range forwarded {
		for token := range strings.SplitSeq(line, ",") {
			if a := address(strings.Trim(token, " \t")); a.IsValid() {
				chain = append(chain, a)
			}
		}
	}
	return chain
}

// socket reads the address of a peer, which usually has a port.
func socket(peer string) netip.Addr {
	if ap, err := netip.ParseAddrPort(peer); err == nil {
		return ap.Addr().WithZone("").Unmap()
	}
	return address(peer)
}

// address reads an address: IPv4 in strict dotted decimal, or IPv6, perhaps in
// brackets or with a zone. It is invalid if s is neither.
func address(s string) netip.Addr {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("").Unmap()
}
