package host

import "syscall"

// dieWithParent makes the kernel kill a child when the thread that started it
// ends, so that nothing outlives a harness that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // NB: a Ctrl-C at the terminal is the harness's business alone
}
