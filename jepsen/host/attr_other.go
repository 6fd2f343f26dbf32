//go:build !linux

package host

import "syscall"

// dieWithParent only keeps a Ctrl-C at the terminal from the children: a harness
// that is killed leaves them running.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
