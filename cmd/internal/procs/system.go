package procs

import (
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// clockTick is the unit of times in /proc on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// readable says that the system has /proc.
const readable = runtime.GOOS == "linux"

func cpuTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// residentBytes is 0 where the system does not tell.
func residentBytes() (int64, error) {
	if !readable {
		return 0, nil
	}
	self, err := procfs.Self()
	if err != nil {
		return 0, err
	}
	stat, err := self.Stat()
	return int64(stat.ResidentMemory()), err
}

// TreeCPU is the CPU time of a process and of its children, ended ones that it
// has waited for included; 0 where the system does not tell.
func TreeCPU(pid int) (time.Duration, error) {
	if !readable {
		return 0, nil
	}
	root, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := root.Stat()
	if err != nil {
		return 0, err
	}
	total := used(root, stat)
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		// One that has ended meanwhile is among its parent's.
		if stat, err := p.Stat(); err == nil && stat.PPID == pid {
			total += used(p, stat)
		}
	}
	return total, nil
}

// used is the CPU time of a process and of its children that ended. Of less than
// a tick its own may show nothing in ticks; the kernel counts that of the first
// thread to the nanosecond.
func used(p procfs.Proc, stat procfs.ProcStat) time.Duration {
	own := time.Duration(stat.UTime+stat.STime) * clockTick
	if first, err := p.Schedstat(); err == nil {
		own = max(own, time.Duration(first.RunningNanoseconds))
	}
	return own + time.Duration(stat.CUTime+stat.CSTime)*clockTick
}
