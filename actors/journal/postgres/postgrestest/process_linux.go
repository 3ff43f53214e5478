package postgrestest

import (
	"errors"
	"os"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// dieWithParent has the kernel tell the server to quit when the thread that
// started it dies. A session of its own keeps the terminal's Ctrl-C from it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGQUIT}
}

func inheritDeath(to, from *syscall.SysProcAttr) { to.Pdeathsig = from.Pdeathsig }

// childrenOf returns the processes that a process has started.
func childrenOf(pid int) (children []int, err error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		stat, err := p.Stat()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		if stat.PPID == pid {
			children = append(children, p.PID)
		}
	}
	return children, nil
}

// alive says whether a process runs; one that has ended and was not waited for
// does not.
func alive(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State != "Z" && stat.State != "X"
}

// removeSharedMemory removes the segment that a killed server left.
func removeSharedMemory(id int) error {
	_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) {
		return nil // there is none
	}
	return err
}
