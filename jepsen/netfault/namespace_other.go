//go:build !linux

package netfault

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
)

// A Namespace exists on Linux only.
type Namespace struct {
	*Thread
	Device *os.File
}

// OpenNamespace fails with errors.ErrUnsupported.
func OpenNamespace(netip.Prefix) (*Namespace, error) { return nil, errors.ErrUnsupported }

func (n *Namespace) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

func (n *Namespace) Listen(string, string) (net.Listener, error) { return nil, errors.ErrUnsupported }

// onMainThread need not know: here nothing depends on the end of a thread.
func onMainThread() bool { return false }
