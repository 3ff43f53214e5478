package worker

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/messages"
)

// What steps log goes to the hosts of their runs, twice a second, in batches. A line is
// kept here until it is stored, in bounds: what is beyond them is left out and counted.
// So nobody waits for a log, and a step that logs without end slows only itself.

const (
	// logsEvery is the time from a line until it is sent, with those that came meanwhile.
	logsEvery = 500 * time.Millisecond
	// logsTry bounds the sending of one batch.
	logsTry = 3 * time.Second
	// logsLinger is how long a worker that ends sends what is left.
	logsLinger = 2 * time.Second
	// lineOverhead is what a line costs in memory beside its texts.
	lineOverhead = 64
)

// attemptLog is what one attempt has logged.
type attemptLog struct {
	mu sync.Mutex
	// lines and bytes that are kept; leftOut are not.
	lines, bytes int
	leftOut      int64
	// fresh lines have not been taken to be sent; size is theirs.
	fresh []*messages.LogLine
	size  int
	// ended: the function has returned. The last chunk says how many were left out.
	ended bool
	// noted: the worker's logs know that there is something; theirs to change.
	noted bool
}

// Log implements attempt.Calls.
func (c *attemptCalls) Log(line func() *messages.LogLine) {
	w := c.worker.logs
	if c.log.full() || !c.log.add(line(), w) {
		return
	}
	w.has(c)
}

// logEnded has the last of the log sent.
func (c *attemptCalls) logEnded() {
	c.log.mu.Lock()
	c.log.ended = true
	more := c.log.leftOut > 0
	c.log.mu.Unlock()
	if more {
		c.worker.logs.has(c)
	}
}

// full says that no more lines are kept, and counts one.
func (l *attemptLog) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.lines >= messages.LogLinesMax || l.bytes >= messages.LogBytesMax
	if full {
		l.leftOut++
	}
	return full
}

// add keeps a line, or counts it.
func (l *attemptLog) add(line *messages.LogLine, w *logs) bool {
	var cutMessage, cutAttributes bool
	line.Message, cutMessage = messages.CutLogText(line.Message)
	line.Attributes, cutAttributes = messages.CutLogText(line.Attributes)
	line.Cut = line.Cut || cutMessage || cutAttributes
	bytes := len(line.Message) + len(line.Attributes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines >= messages.LogLinesMax || l.bytes+bytes > messages.LogBytesMax || !w.take(bytes+lineOverhead) {
		l.leftOut++
		return false
	}
	l.lines++
	l.bytes += bytes
	l.fresh = append(l.fresh, line)
	l.size += bytes + lineOverhead
	return true
}

// logBatch is a chunk of an attempt until it is stored, and what it takes here.
type logBatch struct {
	*messages.WriteLog
	size int
}

// next takes what is to be sent; false for nothing.
func (l *attemptLog) next(c *attemptCalls) (logBatch, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.lines - len(l.fresh) + 1
	switch {
	case len(l.fresh) > 0:
	case l.ended && l.leftOut > 0:
		first = messages.LogLinesMax + 1 // after all lines, however many there are
	default:
		return logBatch{}, false
	}
	d := c.dispatch
	b := logBatch{size: l.size, WriteLog: &messages.WriteLog{RunId: d.RunId, Chunk: &messages.LogChunk{
		Step: d.Step, Attempt: d.Attempt, WorkerId: c.worker.info.WorkerId, FirstLine: int32(first), Lines: l.fresh, LeftOut: l.leftOut}}}
	l.fresh, l.size = nil, 0
	return b, true
}

// logs are those of all attempts of a worker.
type logs struct {
	worker *Worker

	mu sync.Mutex
	// bytes of the lines that are not stored yet.
	bytes int
	// fresh are attempts with lines that were not taken; unsent is what was; both in
	// order.
	fresh  []*attemptCalls
	unsent []logBatch
	// sending: a goroutine sends, until there is nothing more; idle is closed then. hurry
	// is closed when it is not to wait.
	sending     bool
	idle, hurry chan struct{}
}

func newLogs(w *Worker) *logs { return &logs{worker: w} }

// take makes room for a line, if there is any.
func (w *logs) take(bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes+bytes > messages.LogQueueBytesMax {
		return false
	}
	w.bytes += bytes
	return true
}

// has notes that an attempt has something to be sent.
func (w *logs) has(c *attemptCalls) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.log.noted {
		c.log.noted = true
		w.fresh = append(w.fresh, c)
	}
	if !w.sending {
		w.sending, w.idle, w.hurry = true, make(chan struct{}), make(chan struct{})
		w.worker.loops.Go(w.run)
	}
}

// flush sends what is left, for a moment.
func (w *logs) flush() {
	w.mu.Lock()
	if !w.sending {
		w.mu.Unlock()
		return
	}
	idle := w.idle
	close(w.hurry)
	w.mu.Unlock()
	timer := time.NewTimer(logsLinger)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// run sends until there is nothing more, or the worker has ended.
func (w *logs) run() {
	timer := time.NewTimer(logsEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-w.hurry:
			<-time.After(logsEvery / 50) // if it fails it is not to spin
		case <-w.worker.life.Done():
			return
		}
		if !w.gather() {
			return
		}
		w.send()
		timer.Reset(logsEvery)
	}
}

// gather takes what attempts have; false if there is nothing to send.
func (w *logs) gather() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := w.fresh
	w.fresh = nil
	for _, c := range fresh {
		c.log.noted = false
		if b, ok := c.log.next(c); ok {
			w.unsent = append(w.unsent, b)
		}
	}
	if len(w.unsent) == 0 {
		w.sending = false
		close(w.idle)
	}
	return w.sending
}

// send sends what is unsent to the owners of the runs, and keeps what they did not store.
func (w *logs) send() {
	w.mu.Lock()
	unsent := w.unsent
	w.unsent = nil
	w.mu.Unlock()
	byHost := map[string][]logBatch{}
	hosts := map[string]*actor.PID{}
	view := w.worker.node.View()
	var kept []logBatch
	for _, b := range unsent {
		pid, ok := view.HostPID(b.RunId)
		if !ok {
			kept = append(kept, b)
			continue
		}
		hosts[pid.Address] = pid
		byHost[pid.Address] = append(byHost[pid.Address], b)
	}
	left := make(chan []logBatch, len(byHost))
	for address, batches := range byHost {
		go func() { left <- w.sendTo(hosts[address], batches) }()
	}
	for range byHost {
		kept = append(kept, <-left...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsent = append(kept, w.unsent...)
}

// sendTo returns what the host did not store.
func (w *logs) sendTo(host *actor.PID, batches []logBatch) []logBatch {
	for len(batches) > 0 {
		n, size := 0, 0
		m := &messages.WriteLogs{}
		for n < len(batches) && (n == 0 || size+batches[n].size <= messages.LogSendBytesMax) {
			size += batches[n].size
			m.Logs = append(m.Logs, batches[n].WriteLog)
			n++
		}
		if !w.stored(host, m) {
			return batches
		}
		batches = batches[n:]
		w.mu.Lock()
		w.bytes -= size
		w.mu.Unlock()
	}
	return nil
}

// stored says that a batch need not be sent again.
func (w *logs) stored(host *actor.PID, m *messages.WriteLogs) bool {
	ctx, cancel := context.WithTimeout(w.worker.life, logsTry)
	defer cancel()
	answer, err := w.worker.node.Request(ctx, host, m)
	reply, ok := answer.(*messages.WriteLogsReply)
	if err != nil || !ok {
		return false
	}
	refused := messages.FromFailure(reply.Error)
	if messages.CodeOf(refused).Retryable() {
		return false
	}
	if refused != nil {
		w.worker.cfg.Logger.Warn("lines that steps have logged are lost: a server refuses them", "error", refused)
	}
	return true
}
