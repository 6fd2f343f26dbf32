package netfault

import (
	"encoding/binary"
	"net/netip"
)

// A header is what a switch needs to know of an IPv4 packet.
type header struct {
	from, to netip.AddrPort // ports are 0 where there are none, as in ICMP
}

const (
	protocolTCP = 6
	protocolUDP = 17
)

// parseHeader reads the addresses and ports of a packet. It reports false for
// what is not IPv4. Of a fragmented packet only the first part has ports.
func parseHeader(p []byte) (h header, ok bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return header{}, false
	}
	from, to := netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	var fromPort, toPort uint16
	size := int(p[0]&15) * 4
	whole := binary.BigEndian.Uint16(p[6:])&0x1fff == 0
	ported := p[9] == protocolTCP || p[9] == protocolUDP
	if whole && ported && size >= 20 && len(p) >= size+4 {
		fromPort, toPort = binary.BigEndian.Uint16(p[size:]), binary.BigEndian.Uint16(p[size+2:])
	}
	return header{netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)}, true
}
