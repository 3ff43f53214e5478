package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Logs of the runs that the server owns. Workers send lines to the host, not to the run:
// a run needs no turn, and no place in memory, for what its steps say. What arrives
// while a commit is in flight is stored in the next one. Who reads asks the store.
//
// The server adds a line of its own where an attempt fails, or is lost: so the log of a
// step says why, whoever decided it.

const (
	// logCommitMax bounds one commit, in chunks.
	logCommitMax = 512
	// logPageBytes bounds what is read at once.
	logPageBytes = 1 << 20
)

// logs is what the host does with logs.
type logs struct {
	host *Host

	mu      sync.Mutex
	waiting []logWrites
	// bytes of what waits, and of what is in flight.
	bytes int
	// storing: a goroutine stores what waits, until nothing does.
	storing bool
}

// logWrites wait to be stored together.
type logWrites struct {
	chunks []journal.LogWrite
	bytes  int
	reply  func(proto.Message)
}

// write answers once the lines are durable. It does not wait.
func (l *logs) write(m *messages.WriteLogs, reply func(proto.Message)) {
	w := logWrites{reply: reply}
	for _, of := range m.Logs {
		c := of.Chunk
		if err := l.takes(of); err != nil {
			reply(&messages.WriteLogsReply{Error: messages.ToFailure(err)})
			return
		}
		w.add(of.RunId, int64(c.FirstLine), c)
	}
	if err := l.take(w); err != nil {
		reply(&messages.WriteLogsReply{Error: messages.ToFailure(err)})
	}
}

// takes returns why a worker's chunk is not stored here.
func (l *logs) takes(of *messages.WriteLog) error {
	c, bytes := of.Chunk, 0
	for _, line := range c.Lines {
		bytes += len(line.Message) + len(line.Attributes)
	}
	switch {
	case len(c.Lines) > messages.LogLinesMax || bytes > messages.LogBytesMax:
		return messages.Errorf(messages.CodeLimitExceeded, "attempt %s/%s#%d: %d lines with %d bytes, more than LogLinesMax = %d or LogBytesMax = %d",
			of.RunId, c.Step, c.Attempt, len(c.Lines), bytes, messages.LogLinesMax, messages.LogBytesMax)
	case !l.host.owns(of.RunId):
		return messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server", of.RunId)
	}
	return nil
}

func (w *logWrites) add(runID string, first int64, c *messages.LogChunk) {
	data, err := messages.Marshal(c)
	if err != nil {
		return // of texts that were checked
	}
	w.bytes += len(data)
	w.chunks = append(w.chunks, journal.LogWrite{RunID: runID, Step: c.Step, Attempt: c.Attempt, First: first, Data: data})
}

// take lets lines wait for the next commit, or says why not.
func (l *logs) take(w logWrites) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 && l.bytes+w.bytes > messages.LogQueueBytesMax {
		return messages.Errorf(messages.CodeUnavailable, "%d bytes of logs wait for the journal, more than LogQueueBytesMax = %d", l.bytes+w.bytes, messages.LogQueueBytesMax)
	}
	l.bytes += w.bytes
	l.waiting = append(l.waiting, w)
	if !l.storing {
		l.storing = true
		l.host.background(l.store)
	}
	return nil
}

// store makes what waits durable, until nothing waits.
func (l *logs) store() {
	for {
		batch, bytes := l.next()
		if len(batch) == 0 {
			return
		}
		var chunks []journal.LogWrite
		for _, w := range batch {
			chunks = append(chunks, w.chunks...)
		}
		err := l.host.cfg.Store.WriteLogs(l.host.ctx, chunks)
		for _, w := range batch {
			w.reply(&messages.WriteLogsReply{Error: messages.ToFailure(err)})
		}
		l.mu.Lock()
		l.bytes -= bytes
		l.mu.Unlock()
	}
}

// next takes what is to be in one commit.
func (l *logs) next() (batch []logWrites, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, chunks := 0, 0
	for n < len(l.waiting) && (n == 0 || chunks+len(l.waiting[n].chunks) <= logCommitMax) {
		chunks += len(l.waiting[n].chunks)
		bytes += l.waiting[n].bytes
		n++
	}
	batch, l.waiting = l.waiting[:n:n], l.waiting[n:]
	if n == 0 {
		l.waiting, l.storing = nil, false
	}
	return batch, bytes
}

// note logs what an entry says of attempts that failed.
func (l *logs) note(state *run.State, entry *messages.Entry) {
	w := logWrites{reply: func(proto.Message) {}} // the history says it too
	failed := map[string]bool{}
	for i, ev := range entry.Events {
		c := failureIn(state, ev)
		if c == nil || ev.GetStepFailed() != nil && failed[c.Step] {
			continue
		}
		failed[c.Step] = ev.GetAttemptFailed() != nil
		w.add(state.RunID, -int64(state.Number<<16|uint64(i)), c)
	}
	if len(w.chunks) > 0 {
		_ = l.take(w)
	}
}

// failureIn is the line of an event that ends an attempt, or a step, without success;
// nil for others.
func failureIn(state *run.State, ev *messages.Event) *messages.LogChunk {
	c := &messages.LogChunk{}
	line := &messages.LogLine{AtWallUs: time.Now().UnixMicro(), Level: "ERROR"}
	var f *messages.Failure
	switch k := ev.Kind.(type) {
	case *messages.Event_AttemptFailed:
		c.Step, c.Attempt, f = k.AttemptFailed.Step, k.AttemptFailed.Attempt, k.AttemptFailed.Failure
		line.Message = "the attempt failed: "
	case *messages.Event_AttemptLost:
		c.Step, c.Attempt = k.AttemptLost.Step, k.AttemptLost.Attempt
		line.Level, line.Message = "WARN", "the attempt was lost: "+k.AttemptLost.Reason.Words()
	case *messages.Event_StepFailed:
		c.Step, c.Attempt, f = k.StepFailed.Step, state.Step(k.StepFailed.Step).Attempt, k.StepFailed.Failure
		line.Message = "the step failed: "
	default:
		return nil
	}
	if f != nil {
		line.Message += f.Message
		line.Attributes = "code=" + f.Code
	}
	line.Message, line.Cut = messages.CutLogText(line.Message)
	c.Lines = []*messages.LogLine{line}
	return c
}

// ReadLog returns chunks of a run's log after a place, and whether the run has ended:
// what its steps said last may still be on its way then. Any server of the store may.
// Errors: UNKNOWN_RUN.
func (e *Engine) ReadLog(ctx context.Context, runID string, after int64) (chunks []*api.ReadLogResponse, ended bool, err error) {
	if err := e.cutOff(); err != nil {
		return nil, false, err
	}
	ctx, cancel := reading(ctx)
	defer cancel()
	store := e.host.cfg.Store
	rec, err := store.Entries(ctx, runID, 0, 0)
	row := rec.Row
	if err != nil {
		return nil, false, err
	}
	stored, err := store.ReadLog(ctx, runID, after, logPageBytes)
	if err != nil {
		return nil, false, err
	}
	for _, s := range stored {
		c := new(messages.LogChunk)
		if err := messages.Unmarshal(s.Data, c); err != nil {
			return nil, false, messages.Errorf(messages.CodeJournalCorrupt, "run %s, place %d of its log: %w", runID, s.Place, err)
		}
		chunks = append(chunks, &api.ReadLogResponse{Place: s.Place, Chunk: c})
	}
	return chunks, journal.Finished(row.Status), nil
}
