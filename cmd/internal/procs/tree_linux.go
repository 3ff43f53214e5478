package procs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTicks of /proc are hundredths of a second on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// TreeCPU is the CPU time of a process and of its children, ended ones that it
// has waited for included; 0 where the system does not tell.
func TreeCPU(pid int) (time.Duration, error) {
	own, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	all := own.cpu(pid)
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		child, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		// One that has ended meanwhile is among its parent's.
		if s, err := readStat(child); err == nil && s.parent == pid {
			all += s.cpu(child)
		}
	}
	return all, nil
}

type stat struct {
	parent int
	// own time by ticks, and that of children that ended.
	own, children time.Duration
}

func (s stat) cpu(pid int) time.Duration { return max(s.own, ofFirstThread(pid)) + s.children }

// readStat reads /proc/PID/stat: the command's name stands in parentheses and
// may hold anything.
func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const parent, user, childSystem = 1, 11, 14
	if len(fields) <= childSystem {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	var s stat
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return stat{}, err
	}
	for i := user; i <= childSystem; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return stat{}, err
		}
		if i < user+2 {
			s.own += time.Duration(n) * clockTick
		} else {
			s.children += time.Duration(n) * clockTick
		}
	}
	return s, nil
}

// ofFirstThread is the CPU time of a process's first thread to the nanosecond:
// one that has used less than a tick may have none by its ticks. 0 where the
// kernel does not count it.
func ofFirstThread(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0
	}
	ran, _, _ := strings.Cut(string(data), " ")
	n, err := strconv.ParseInt(ran, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}
