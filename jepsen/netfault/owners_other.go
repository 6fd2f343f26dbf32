//go:build !linux

package netfault

import (
	"errors"
	"net"
)

func owner(net.Conn, []int) (int, error) { return 0, errors.ErrUnsupported }
