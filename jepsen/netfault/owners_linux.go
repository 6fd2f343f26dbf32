package netfault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// owner returns which of the processes holds the other end of a connection
// between two processes of this machine: the kernel tells the inode of a socket,
// and each process's descriptors name the inodes of theirs.
func owner(c net.Conn, pids []int) (int, error) {
	here, there := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	inode, err := inodeOf(there, here)
	if err != nil {
		return 0, err
	}
	socket := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	for _, pid := range pids {
		if holds(pid, socket) {
			return pid, nil
		}
	}
	return 0, nil
}

// Messages of the kernel's socket diagnostics, see sock_diag(7).
const (
	diagRequestLen = 56
	diagAnswerLen  = 72
	diagInode      = 68 // where the inode lies in an answer
)

// inodeOf asks the kernel for the IPv4 socket with the given ends. It is one
// look-up there. /proc/net/tcp says the same, and walks the whole table of
// sockets for it: milliseconds for each connection, which a storm of elections
// makes by the hundred, and makes itself worse.
func inodeOf(local, remote netip.AddrPort) (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("socket diagnostics: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, diagRequest(local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("socket diagnostics: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, fmt.Errorf("socket diagnostics: %w", err)
	}
	return diagAnswer(answer[:n])
}

// diagRequest is a netlink header and an inet_diag_req_v2 about one socket.
func diagRequest(local, remote netip.AddrPort) []byte {
	native, network := binary.NativeEndian, binary.BigEndian
	b := native.AppendUint32(nil, unix.SizeofNlMsghdr+diagRequestLen)
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence and port
	b = append(b, unix.AF_INET, unix.IPPROTO_TCP, 0, 0)
	b = native.AppendUint32(b, ^uint32(0)) // any state
	b = network.AppendUint16(b, local.Port())
	b = network.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		ip := a.Unmap().As4()
		b = append(append(b, ip[:]...), make([]byte, 12)...)
	}
	b = native.AppendUint32(b, 0)             // any interface
	return native.AppendUint64(b, ^uint64(0)) // no cookie is known
}

// diagAnswer returns the inode that an answer tells.
func diagAnswer(b []byte) (uint32, error) {
	if len(b) < unix.SizeofNlMsghdr+4 {
		return 0, errors.New("socket diagnostics: a short answer")
	}
	kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:]
	if kind == unix.NLMSG_ERROR {
		return 0, fmt.Errorf("socket diagnostics: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(body))))
	}
	if kind != unix.SOCK_DIAG_BY_FAMILY || len(body) < diagAnswerLen {
		return 0, fmt.Errorf("socket diagnostics: an answer of kind %d and %d bytes", kind, len(body))
	}
	return binary.NativeEndian.Uint32(body[diagInode:]), nil
}

func holds(pid int, socket string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // it is gone
	}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && to == socket {
			return true
		}
	}
	return false
}
