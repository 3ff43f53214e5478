//go:build unix

package procs

import "syscall"

// Pause freezes the process (SIGSTOP): it lives and does nothing, also answers
// no order, until Resume or Kill.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
