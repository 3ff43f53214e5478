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
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var all []Execution
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		executions, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("ledger %s: %w", name, err)
		}
		all = append(all, executions...)
	}
	slices.SortStableFunc(all, func(a, b Execution) int { return a.Begin.Compare(b.Begin) })
	return all, nil
}

// parse reads one file. A last line without an end was cut off by a kill.
func parse(data []byte) ([]Execution, error) {
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var (
		process Execution
		all     []Execution
	)
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		var err error
		switch {
		case f[0] == "process" && len(f) == 4:
			process.Worker, process.Incarnation = f[1], f[2]
			process.Process, err = strconv.Atoi(f[3])
		case f[0] == "begin" && len(f) == 7:
			all, err = parseBegin(all, process, f)
		case f[0] == "end" && len(f) == 5:
			err = parseEnd(all, f)
		default:
			err = fmt.Errorf("%d fields, the first is %q", len(f), f[0])
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return all, nil
}

func parseBegin(all []Execution, e Execution, f []string) ([]Execution, error) {
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || n != int64(len(all))+1 {
		return nil, fmt.Errorf("execution %q is not the next", f[1])
	}
	e.ID, e.Run, e.Step = executionID(e.Incarnation, n), f[2], f[3]
	if e.Attempt, err = strconv.Atoi(f[4]); err != nil {
		return nil, err
	}
	if e.Epoch, err = strconv.ParseUint(f[5], 10, 64); err != nil {
		return nil, err
	}
	us, err := strconv.ParseInt(f[6], 10, 64)
	e.Begin = time.UnixMicro(us)
	return append(all, e), err
}

func parseEnd(all []Execution, f []string) error {
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 1 || n > len(all) {
		return fmt.Errorf("execution %q did not begin", f[1])
	}
	us, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return err
	}
	e := &all[n-1]
	e.End, e.Failed, e.Note = time.UnixMicro(us), f[3] != "ok", f[4]
	return nil
}
