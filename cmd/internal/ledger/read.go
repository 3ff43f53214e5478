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

// Book is what ledgers hold, each kind in the order of its beginning.
type Book struct {
	Processes  []Process
	Executions []Execution
	Values     []Value
}

// Read returns the executions of all files that match a pattern, in the order
// of their beginning.
func Read(pattern string) ([]Execution, error) {
	b, err := ReadBook(pattern)
	return b.Executions, err
}

// ReadBook returns what all files that match a pattern hold.
func ReadBook(pattern string) (Book, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return Book{}, err
	}
	var all Book
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return Book{}, err
		}
		p, err := parse(data)
		if err != nil {
			return Book{}, fmt.Errorf("ledger %s: %w", name, err)
		}
		if p.process.ID != 0 {
			all.Processes = append(all.Processes, p.process)
		}
		all.Executions = append(all.Executions, p.executions...)
		all.Values = append(all.Values, p.values...)
	}
	slices.SortStableFunc(all.Processes, func(a, b Process) int { return a.Begin.Compare(b.Begin) })
	slices.SortStableFunc(all.Executions, func(a, b Execution) int { return a.Begin.Compare(b.Begin) })
	slices.SortStableFunc(all.Values, func(a, b Value) int { return a.Built.Compare(b.Built) })
	return all, nil
}

// page is one file.
type page struct {
	process    Process
	executions []Execution
	values     []Value
}

// fieldsOf is how many fields a line of each kind has.
var fieldsOf = map[string]int{
	"process": 5, "ready": 2, "begin": 7, "rebuild": 2, "tick": 3, "did": 5, "canceled": 4, "end": 5, "built": 8, "used": 5, "gave": 4, "released": 4,
}

// parse reads one file. A last line without an end was cut off by a kill.
func parse(data []byte) (*page, error) {
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	p := &page{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if fieldsOf[f[0]] != len(f) || (number == 1) != (f[0] == "process") {
			return nil, fmt.Errorf("line %d: %d fields, the first is %q", number, len(f), f[0])
		}
		r := fields{all: f[1:]}
		p.line(f[0], &r)
		if r.err != nil {
			return nil, fmt.Errorf("line %d: %w", number, r.err)
		}
	}
	return p, nil
}

// line reads one line.
func (p *page) line(kind string, f *fields) {
	switch kind {
	case "process":
		p.process = Process{Worker: f.text(), Incarnation: f.text(), ID: int(f.number()), Begin: f.time()}
	case "ready":
		p.process.Ready = f.time()
	case "begin":
		p.begin(f)
	case "built":
		p.built(f)
	case "used", "gave", "released":
		p.ofValue(kind, f)
	default:
		p.ofExecution(kind, f)
	}
}

func (p *page) begin(f *fields) {
	n := f.next(len(p.executions), "execution")
	e := Execution{
		ID: executionID(p.process.Incarnation, n), Worker: p.process.Worker, Incarnation: p.process.Incarnation, Process: p.process.ID,
		Run: f.text(), Step: f.text(), Attempt: int(f.number()), Epoch: uint64(f.number()), Begin: f.time(),
	}
	p.executions = append(p.executions, e)
}

// ofExecution reads what happened in an execution.
func (p *page) ofExecution(kind string, f *fields) {
	n := f.known(len(p.executions), "execution")
	if n == 0 {
		return
	}
	e := &p.executions[n-1]
	switch kind {
	case "rebuild":
		e.Rebuild = true
	case "tick":
		e.Ticks = append(e.Ticks, f.number())
	case "did":
		e.Did = append(e.Did, Deed{At: f.time(), What: f.text(), Value: f.text()})
	case "canceled":
		e.Canceled, e.Why = f.time(), f.text()
	case "end":
		e.End, e.Failed, e.Note = f.time(), f.text() != "ok", f.text()
	}
}

func (p *page) built(f *fields) {
	n := f.next(len(p.values), "value")
	p.values = append(p.values, Value{
		ID: valueID(p.process.Incarnation, n), Worker: p.process.Worker, Incarnation: p.process.Incarnation,
		Local: f.text(), Key: f.text(), Run: f.text(), Epoch: uint64(f.number()), Built: f.time(), Received: f.text(),
	})
}

// ofValue reads what happened to a value.
func (p *page) ofValue(kind string, f *fields) {
	n := f.known(len(p.values), "value")
	if n == 0 {
		return
	}
	v := &p.values[n-1]
	switch kind {
	case "used":
		e := f.known(len(p.executions), "execution")
		v.Uses = append(v.Uses, Use{Execution: executionID(p.process.Incarnation, e), At: f.time(), Version: int(f.number())})
	case "gave":
		v.Gifts = append(v.Gifts, Gift{At: f.time(), Data: f.text()})
	case "released":
		v.Releases = append(v.Releases, Release{At: f.time(), Why: f.text()})
	}
}

// fields of a line, one after the other, and the first error of any.
type fields struct {
	all []string
	err error
}

func (f *fields) text() string {
	t := f.all[0]
	f.all = f.all[1:]
	return t
}

func (f *fields) number() int64 {
	n, err := strconv.ParseInt(f.text(), 10, 64)
	if f.err == nil {
		f.err = err
	}
	return n
}

func (f *fields) time() time.Time { return time.UnixMicro(f.number()) }

// next is a number that must follow those there are.
func (f *fields) next(there int, what string) int64 {
	n := f.number()
	if f.err == nil && n != int64(there)+1 {
		f.err = fmt.Errorf("%s %d is not the next", what, n)
	}
	return n
}

// known is a number that must be one of those there are; 0 if it is not.
func (f *fields) known(there int, what string) int64 {
	n := f.number()
	if f.err == nil && (n < 1 || n > int64(there)) {
		f.err = fmt.Errorf("%s %d did not begin", what, n)
	}
	if f.err != nil {
		return 0
	}
	return n
}
