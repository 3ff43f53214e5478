//go:build !linux

package postgrestest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent: a session of its own keeps the terminal's Ctrl-C from the
// server. Only Linux can end it with its parent.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func inheritDeath(_, _ *syscall.SysProcAttr) {}

// childrenOf returns the processes that a process has started.
func childrenOf(pid int) (children []int, err error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		child, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, err
		}
		children = append(children, child)
	}
	return children, nil
}

// alive says whether a process runs.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// removeSharedMemory leaves the 56 bytes to the next restart of the machine.
func removeSharedMemory(int) error { return nil }
