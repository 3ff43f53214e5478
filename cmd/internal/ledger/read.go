package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Read returns the executions of all files that match a pattern, in the order
// of their beginning.
func Read(pattern string) ([]Execution, error) {
	_, all, err := ReadAll(pattern)
	return all, err
}

// ReadAll returns the processes and the executions of all files that match a
// pattern, each in the order of their beginning.
func ReadAll(pattern string) ([]Process, []Execution, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, nil, err
	}
	var processes []Process
	var all []Execution
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		process, executions, err := parse(data)
		if err != nil {
			return nil, nil, fmt.Errorf("ledger %s: %w", name, err)
		}
		if process.ID != 0 {
			processes = append(processes, process)
		}
		all = append(all, executions...)
	}
	slices.SortStableFunc(processes, func(a, b Process) int { return a.Begin.Compare(b.Begin) })
	slices.SortStableFunc(all, func(a, b Execution) int { return a.Begin.Compare(b.Begin) })
	return processes, all, nil
}

// parse reads one file. A last line without an end was cut off by a kill.
func parse(data []byte) (process Process, all []Execution, err error) {
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case f[0] == "process" && len(f) == 5 && number == 1:
			process.Worker, process.Incarnation = f[1], f[2]
			if process.ID, err = strconv.Atoi(f[3]); err == nil {
				process.Begin, err = parseTime(f[4])
			}
		case f[0] == "ready" && len(f) == 2:
			process.Ready, err = parseTime(f[1])
		case f[0] == "begin" && len(f) == 7:
			all, err = parseBegin(all, process, f)
		case f[0] == "end" && len(f) == 5:
			err = parseEnd(all, f)
		default:
			err = fmt.Errorf("%d fields, the first is %q", len(f), f[0])
		}
		if err != nil {
			return process, nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return process, all, nil
}

func parseTime(field string) (time.Time, error) {
	us, err := strconv.ParseInt(field, 10, 64)
	return time.UnixMicro(us), err
}

func parseBegin(all []Execution, process Process, f []string) ([]Execution, error) {
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || n != int64(len(all))+1 {
		return nil, fmt.Errorf("execution %q is not the next", f[1])
	}
	e := Execution{
		ID: executionID(process.Incarnation, n), Worker: process.Worker, Incarnation: process.Incarnation, Process: process.ID,
		Run: f[2], Step: f[3],
	}
	if e.Attempt, err = strconv.Atoi(f[4]); err != nil {
		return nil, err
	}
	if e.Epoch, err = strconv.ParseUint(f[5], 10, 64); err != nil {
		return nil, err
	}
	e.Begin, err = parseTime(f[6])
	return append(all, e), err
}

func parseEnd(all []Execution, f []string) error {
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 1 || n > len(all) {
		return fmt.Errorf("execution %q did not begin", f[1])
	}
	e := &all[n-1]
	if e.End, err = parseTime(f[2]); err != nil {
		return err
	}
	e.Failed, e.Note = f[3] != "ok", f[4]
	return nil
}
