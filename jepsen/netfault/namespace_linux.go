package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// deviceName is how a host's link to the switch is called in its namespace.
const deviceName = "tk0"

// A Namespace is a network namespace with one TUN device, whose far end is a
// port of a Switch. It has no name in the file system: it lives as long as its
// Thread, the processes in it, and the connections made from it, so that nothing
// is left after a crash. To look around in it, enter it through a process that
// runs there: nsenter -t PID -n.
type Namespace struct {
	*Thread
	Device *os.File // the switch's end

	net *os.File
}

// OpenNamespace makes a namespace whose device has the address. It needs
// CAP_SYS_ADMIN and /dev/net/tun.
func OpenNamespace(address netip.Prefix) (_ *Namespace, err error) {
	n := &Namespace{Thread: NewThread()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	err = n.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		var err error
		if n.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if n.Device, err = openTUN(deviceName); err != nil {
			return err
		}
		return configure(address)
	})
	if err != nil {
		return n, fmt.Errorf("namespace %v: %w", address, err)
	}
	return n, nil
}

// openTUN creates a TUN device in the thread's namespace. It goes when the file
// is closed.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TUN device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tun"), nil // NB: only now, since polling starts here and an unbound TUN cannot be polled
}

// configure gives the device its address, and brings it and lo up.
func configure(address netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	mask := net.CIDRMask(address.Bits(), 32)
	for _, step := range []struct {
		device  string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{deviceName, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.Addr().AsSlice()) }},
		{deviceName, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
		{deviceName, unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(maxQueue); return nil }},
		{deviceName, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{"lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		req, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.set(req)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, step.request, req)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("configure %s: %w", step.device, err), unix.Close(fd))
		}
	}
	return unix.Close(fd)
}

// Dial connects from within the namespace. The address must be numeric.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.visit(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens within the namespace.
func (n *Namespace) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := n.visit(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// visit runs f on a thread of its own in the namespace, so that what blocks does
// not hold up Do.
func (n *Namespace) visit(f func() error) error {
	done := make(chan error, 1)
	onOwnThread(func() {
		if err := unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	})
	return <-done
}

func onMainThread() bool { return unix.Gettid() == unix.Getpid() }

// Close ends the processes that were started on the thread and closes the
// device. It may be called twice.
func (n *Namespace) Close() error {
	errs := []error{n.Thread.Close()}
	for _, f := range []*os.File{n.Device, n.net} {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
