package clientip

import (
	"strings"
	"testing"
)

func hops(n int) Trust {
	t, err := Hops(n)
	if err != nil {
		panic(err)
	}
	return t
}

func networks(cidrs ...string) Trust {
	t, err := Networks(cidrs...)
	if err != nil {
		panic(err)
	}
	return t
}

func TestKey(t *testing.T) {
	const peer = "192.0.2.9:4711"
	for _, tt := range []struct {
		name      string
		trust     Trust
		prefix    int
		peer      string
		forwarded string // lines separated by |
		want      string
	}{
		// trustProxy false
		{"the peer", Trust{}, 64, peer, "", "192.0.2.9"},
		{"forwarded headers are ignored", Trust{}, 64, peer, "198.51.100.1", "192.0.2.9"},
		{"a peer without a port", Trust{}, 64, "192.0.2.9", "", "192.0.2.9"},
		{"no peer", Trust{}, 64, "", "", "anon"},
		{"a peer that is no address", Trust{}, 64, "@", "", "anon"},
		{"leading zeros are not decimal", Trust{}, 64, "192.0.02.9:1", "", "anon"},

		// N hops
		{"no hop is the peer", hops(0), 64, peer, "198.51.100.1", "192.0.2.9"},
		{"one hop", hops(1), 64, peer, "198.51.100.1, 203.0.113.5", "203.0.113.5"},
		{"two hops", hops(2), 64, peer, "198.51.100.1, 203.0.113.5", "198.51.100.1"},
		{"more hops than addresses", hops(7), 64, peer, "198.51.100.1, 203.0.113.5", "198.51.100.1"},
		{"hops without a header", hops(2), 64, peer, "", "192.0.2.9"},
		{"several lines are one list", hops(2), 64, peer, "198.51.100.1,203.0.113.5|203.0.113.6", "203.0.113.5"},
		{"unparsable tokens are dropped", hops(1), 64, peer, "198.51.100.1, unknown, 1.2.3.4:80, ", "198.51.100.1"},
		{"a proxy behind a socket without an address", hops(1), 64, "@", "198.51.100.1", "198.51.100.1"},

		// networks
		{"an untrusted peer", networks("10.0.0.0/8"), 64, peer, "198.51.100.1", "192.0.2.9"},
		{"behind one proxy", networks("192.0.2.0/24"), 64, peer, "198.51.100.1", "198.51.100.1"},
		{"behind two, with a forged head", networks("192.0.2.0/24", "10.0.0.0/8"), 64, peer, "1.1.1.1, 198.51.100.1, 10.1.2.3", "198.51.100.1"},
		{"all trusted: the leftmost", networks("0.0.0.0/0"), 64, peer, "1.1.1.1, 198.51.100.1", "1.1.1.1"},
		{"a single address", networks("192.0.2.9"), 64, peer, "198.51.100.1", "198.51.100.1"},
		{"a mapped network", networks("::ffff:192.0.2.0/120"), 64, peer, "198.51.100.1", "198.51.100.1"},
		{"an IPv6 proxy", networks("2001:db8:1::/48"), 64, "[2001:db8:1::7]:443", "198.51.100.1", "198.51.100.1"},
		{"a socket without an address is not trusted", networks("10.0.0.0/8"), 64, "@", "198.51.100.1", "anon"},

		// IPv6
		{"masked to 64 bits", Trust{}, 64, "[2001:db8::1:2:3:4]:443", "", "2001:db8::"},
		{"masked to 48 bits", Trust{}, 48, "[2001:db8:1:2::3]:443", "", "2001:db8:1::"},
		{"whole", Trust{}, 128, "[2001:db8:0:0:0::3]:443", "", "2001:db8::3"},
		{"not at all", Trust{}, 0, "[2001:db8::3]:443", "", "::"},
		{"a prefix out of range is 64", Trust{}, 129, "[2001:db8::3]:443", "", "2001:db8::"},
		{"a negative prefix is 64", Trust{}, -1, "[2001:db8::3]:443", "", "2001:db8::"},
		{"mapped is IPv4", Trust{}, 64, "[::ffff:192.0.2.9]:443", "", "192.0.2.9"},
		{"a zone is removed", Trust{}, 128, "[fe80::1%eth0]:443", "", "fe80::1"},
		{"brackets in the header", hops(1), 128, peer, "[2001:db8::3]", "2001:db8::3"},
		{"a zone in the header", hops(1), 128, peer, "fe80::1%eth0", "fe80::1"},
		{"mapped in the header", hops(1), 64, peer, "::ffff:198.51.100.1", "198.51.100.1"},
		{"a port in the header is not an address", hops(1), 64, peer, "[2001:db8::3]:443", "192.0.2.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Default()
			r.Trust, r.IPv6Prefix = tt.trust, tt.prefix
			var lines []string
			if tt.forwarded != "" {
				lines = strings.Split(tt.forwarded, "|")
			}
			if got := r.Key(tt.peer, lines); got != tt.want {
				t.Errorf("Key(%q, %q) = %q, want %q", tt.peer, lines, got, tt.want)
			}
		})
	}
}

func TestTrustRefuses(t *testing.T) {
	if _, err := Hops(-1); err == nil {
		t.Error("Hops(-1) succeeded")
	}
	_, err := Networks("10.0.0.0/8", "10.0.0.0/33", "proxy.example")
	if err == nil || !strings.Contains(err.Error(), "/33") || !strings.Contains(err.Error(), "proxy.example") {
		t.Errorf("Networks reports %v, want both bad ones", err)
	}
}

// FuzzKey: whatever clients send, the key is an address that reads back as
// itself, or the fallback.
func FuzzKey(f *testing.F) {
	f.Add("192.0.2.9:4711", "198.51.100.1, 203.0.113.5")
	f.Add("[fe80::1%eth0]:443", "[2001:db8::1], ::ffff:1.2.3.4")
	f.Add("", ",,, %")
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		for _, trust := range []Trust{{}, hops(1), networks("10.0.0.0/8", "::/0")} {
			r := Default()
			r.Trust = trust
			key := r.Key(peer, []string{forwarded})
			if key != r.Fallback && r.Key(key, nil) != key && trust.hops == 0 && trust.nets == nil {
				t.Errorf("Key(%q, %q) = %q, which is the key %q", peer, forwarded, key, r.Key(key, nil))
			}
			if len(key) > 45 {
				t.Errorf("Key(%q, %q) = %q", peer, forwarded, key)
			}
		}
	})
}
