// Package ledger is what step functions themselves record of their executions,
// apart from the engine: the witness that the engine's own history is checked
// against.
//
// Data flow: step function → Begin, Tick, End → a file for each worker process
// → Read. What binds and releases local state records that in the same file.
//
// The file is lines of fields between tabs. "process" begins it: worker id,
// incarnation, process id and time, as all times in microseconds since the Unix
// epoch. Then, in any order:
//
//	ready     time
//	begin     number of the execution in this process, run, step, attempt, epoch, time
//	rebuild   number: the function was told that it is executed for its local state alone
//	tick      number, time: the function acts
//	did       number, time, what, value: what the function did, or was given, and which
//	canceled  number, time, why: the function saw its context end, and acts no more
//	end       number, time, outcome (ok, failed), note
//	built     number of the value in this process, local state, key, run, epoch, time, what was received
//	used      number of the value, number of the execution, time, version
//	gave      number of the value, time, what was handed off
//	released  number of the value, time, why
//
// What a killed process had written is complete but for a last line without an
// end. A time is that of the machine's clock just before the line is written: a
// process that is frozen between the two seems to have acted before.
//
// Imports nothing of this module.
package ledger

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Execution is one call of a step function.
type Execution struct {
	// ID is unique among all processes.
	ID          string
	Worker      string
	Incarnation string
	Process     int
	Run         string
	Step        string
	Attempt     int
	Epoch       uint64
	Begin       time.Time
	// End is zero for a call that did not return.
	End time.Time
	// Failed says that the function returned an error.
	Failed bool
	// Note is the step's own: one line.
	Note string
	// Rebuild says that the function was told that its result does not count.
	Rebuild bool
	// Ticks are when it said that it acts, in microseconds since the Unix epoch.
	Ticks []int64
	// Did is what it did, in order.
	Did []Deed
	// Canceled is when it saw that its context had ended, and acted no more;
	// zero if it did not. Why is what its context said.
	Canceled time.Time
	Why      string
}

// Deed is something that an execution did, or was given: a call that was made, a
// result that came of it.
type Deed struct {
	At          time.Time
	What, Value string
}

// Value is a value of local state.
type Value struct {
	// ID is unique among all processes.
	ID          string
	Worker      string
	Incarnation string
	// Local is the name of the state. Key is that of a shared value, for which
	// Run and Epoch say nothing.
	Local, Key, Run string
	Epoch           uint64
	Built           time.Time
	// Received is what another worker had handed off; empty for nothing.
	Received string
	Uses     []Use
	Gifts    []Gift
	Releases []Release
}

// Use is one time that an execution got the value.
type Use struct {
	Execution string
	At        time.Time
	// Version that this use made of it.
	Version int
}

// Gift is one time that the value was handed off.
type Gift struct {
	At   time.Time
	Data string
}

// Release of a value.
type Release struct {
	At  time.Time
	Why string
}

// Process is one process of a worker.
type Process struct {
	Worker      string
	Incarnation string
	ID          int
	Begin       time.Time
	// Ready is when steps could come; zero if that was not recorded.
	Ready time.Time
}

// oneLine keeps a note from looking like fields or lines.
var oneLine = strings.NewReplacer("\t", " ", "\n", " ")

// Writer appends to the file of this process. Its methods may be called
// concurrently.
type Writer struct {
	incarnation string
	flushEvery  time.Duration
	stop        chan struct{}
	stopped     chan struct{}

	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	line   []byte
	last   int64
	values int64
	err    error
}

// Create begins the file of a process. A flushEvery of 0 writes each line at
// once, so that nothing is lost with the process; otherwise lines are gathered
// and a killed process takes those of the last flushEvery with it.
func Create(file, worker, incarnation string, flushEvery time.Duration) (*Writer, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	w := &Writer{
		incarnation: incarnation, file: f, buffer: bufio.NewWriterSize(f, 64<<10),
		flushEvery: flushEvery, stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	fmt.Fprintf(w.buffer, "process\t%s\t%s\t%d\t%d\n", worker, incarnation, os.Getpid(), time.Now().UnixMicro())
	if err := w.Flush(); err != nil {
		return nil, err
	}
	go w.flushing()
	return w, nil
}

func (w *Writer) flushing() {
	defer close(w.stopped)
	if w.flushEvery == 0 {
		return
	}
	ticker := time.NewTicker(w.flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = w.Flush()
		case <-w.stop:
			return
		}
	}
}

// Ready records that the process was admitted: steps may come.
func (w *Writer) Ready() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(strconv.AppendInt(append(w.line[:0], "ready\t"...), time.Now().UnixMicro(), 10))
}

// Begin records that a call begins and returns its number for End.
func (w *Writer) Begin(run, step string, attempt int, epoch uint64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	l := append(w.line[:0], "begin\t"...)
	l = append(strconv.AppendInt(l, w.last, 10), '\t')
	l = append(append(l, run...), '\t')
	l = append(append(l, step...), '\t')
	l = append(strconv.AppendInt(l, int64(attempt), 10), '\t')
	l = append(strconv.AppendUint(l, epoch, 10), '\t')
	w.write(strconv.AppendInt(l, time.Now().UnixMicro(), 10))
	return w.last
}

// End records that the call with the number returns.
func (w *Writer) End(number int64, failed bool, note string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := append(w.line[:0], "end\t"...)
	l = append(strconv.AppendInt(l, number, 10), '\t')
	l = append(strconv.AppendInt(l, time.Now().UnixMicro(), 10), '\t')
	if failed {
		l = append(l, "failed\t"...)
	} else {
		l = append(l, "ok\t"...)
	}
	w.write(append(l, oneLine.Replace(note)...))
}

// Rebuild records that the call with the number is for its local state alone.
func (w *Writer) Rebuild(number int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(strconv.AppendInt(append(w.line[:0], "rebuild\t"...), number, 10))
}

// Tick records that the call with the number acts now.
func (w *Writer) Tick(number int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(w.numbered("tick", number))
}

// Did records what the call with the number does, or was given.
func (w *Writer) Did(number int64, what, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := append(append(w.numbered("did", number), '\t'), oneLine.Replace(what)...)
	w.write(append(append(l, '\t'), oneLine.Replace(value)...))
}

// Canceled records that the call with the number saw its context end and acts
// no more.
func (w *Writer) Canceled(number int64, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(append(append(w.numbered("canceled", number), '\t'), oneLine.Replace(why)...))
}

// Built records a value of local state and returns its number. Of a private one
// there is no key; received is what was handed off, empty for nothing.
func (w *Writer) Built(local, key, run string, epoch uint64, received string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.values++
	l := append(w.line[:0], "built\t"...)
	l = append(strconv.AppendInt(l, w.values, 10), '\t')
	for _, field := range []string{local, key, run} {
		l = append(append(l, oneLine.Replace(field)...), '\t')
	}
	l = append(strconv.AppendUint(l, epoch, 10), '\t')
	l = append(strconv.AppendInt(l, time.Now().UnixMicro(), 10), '\t')
	w.write(append(l, oneLine.Replace(received)...))
	return w.values
}

// Used records that the call with the number got the value, and which version
// it made of it.
func (w *Writer) Used(value, number int64, version int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := append(w.line[:0], "used\t"...)
	l = append(strconv.AppendInt(l, value, 10), '\t')
	l = append(strconv.AppendInt(l, number, 10), '\t')
	l = append(strconv.AppendInt(l, time.Now().UnixMicro(), 10), '\t')
	w.write(strconv.AppendInt(l, int64(version), 10))
}

// Gave records what the value was handed off as.
func (w *Writer) Gave(value int64, data string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(append(append(w.numbered("gave", value), '\t'), oneLine.Replace(data)...))
}

// Released records the release of the value.
func (w *Writer) Released(value int64, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(append(append(w.numbered("released", value), '\t'), oneLine.Replace(why)...))
}

// numbered begins a line with a number and the time.
func (w *Writer) numbered(what string, number int64) []byte {
	l := append(append(w.line[:0], what...), '\t')
	l = append(strconv.AppendInt(l, number, 10), '\t')
	return strconv.AppendInt(l, time.Now().UnixMicro(), 10)
}

// Count is the number of calls that have begun.
func (w *Writer) Count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// ID is the Execution.ID of the call with the number.
func (w *Writer) ID(number int64) string { return executionID(w.incarnation, number) }

// ValueID is the Value.ID of the value with the number.
func (w *Writer) ValueID(number int64) string { return valueID(w.incarnation, number) }

func valueID(incarnation string, number int64) string {
	return incarnation + "@" + strconv.FormatInt(number, 10)
}

func executionID(incarnation string, number int64) string {
	return incarnation + "#" + strconv.FormatInt(number, 10)
}

// write ends the line; the first error stays for Flush.
func (w *Writer) write(line []byte) {
	w.line = append(line, '\n')
	_, err := w.buffer.Write(w.line)
	if err == nil && w.flushEvery == 0 {
		err = w.buffer.Flush()
	}
	if w.err == nil {
		w.err = err
	}
}

// Flush hands all lines to the system; the error is the first of any line.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.buffer.Flush(); w.err == nil {
		w.err = err
	}
	return w.err
}

// Close flushes and closes the file.
func (w *Writer) Close() error {
	close(w.stop)
	<-w.stopped
	err := w.Flush()
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	return err
}
