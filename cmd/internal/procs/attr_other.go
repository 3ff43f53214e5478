//go:build !linux

package procs

import "syscall"

// ownGroup keeps the terminal's Ctrl-C from the children, which their parent
// ends in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
