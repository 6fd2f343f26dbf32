package netfault

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// owner returns which of the processes holds the other end of a connection
// between two processes of this machine: the kernel lists the inode of each
// socket, and each process's descriptors name the inodes of theirs.
func owner(c net.Conn, pids []int) (int, error) {
	here, there := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	inode, err := inodeOf(there, here)
	if err != nil {
		return 0, err
	}
	socket := "socket:[" + inode + "]"
	for _, pid := range pids {
		if holds(pid, socket) {
			return pid, nil
		}
	}
	return 0, nil
}

// inodeOf finds the IPv4 socket with the given ends in the kernel's list.
func inodeOf(local, remote netip.AddrPort) (string, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	want := procAddr(local) + " " + procAddr(remote)
	s := bufio.NewScanner(f)
	for s.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		fields := strings.Fields(s.Text())
		if len(fields) > 9 && fields[1]+" "+fields[2] == want {
			return fields[9], nil
		}
	}
	return "", s.Err()
}

// procAddr writes an address as /proc/net/tcp does: the four bytes as a number
// in the machine's order.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
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
