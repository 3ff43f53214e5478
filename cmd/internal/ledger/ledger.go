// Package ledger is what step functions themselves record of their executions,
// apart from the engine: the witness that the engine's own history is checked
// against.
//
// Data flow: step function → Begin, End → a file for each worker process →
// Read.
//
// The file is lines of fields between tabs. "process" begins it: worker id,
// incarnation, process id and time, as all times in microseconds since the Unix
// epoch. Then "begin": number of the execution in this process, run, step,
// attempt, epoch, and time; "end": number, time, outcome (ok, failed), note;
// "ready": time. What a killed process had written is complete but for a last
// line without an end.
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

// Count is the number of calls that have begun.
func (w *Writer) Count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// ID is the Execution.ID of the call with the number.
func (w *Writer) ID(number int64) string { return executionID(w.incarnation, number) }

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
