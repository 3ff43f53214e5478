package procs

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from the children, which their parent
// ends in order, and has the kernel kill them when it dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
