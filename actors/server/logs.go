package server

import (
	"context"
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

// logPageBytes bounds what is read at once.
const logPageBytes = 1 << 20

// logs is what the host does with logs.
type logs struct {
	host    *Host
	batcher journal.Batcher[logWrites]
}

// logWrites are stored together.
type logWrites struct {
	chunks []journal.LogWrite
	bytes  int64
	reply  func(proto.Message)
}

func newLogs(h *Host) *logs {
	l := &logs{host: h}
	l.batcher = journal.Batcher[logWrites]{Background: h.background, Store: l.store, QueueMax: messages.LogQueueBytesMax}
	return l
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
	w.bytes += int64(len(data))
	w.chunks = append(w.chunks, journal.LogWrite{RunID: runID, Step: c.Step, Attempt: c.Attempt, First: first, Data: data})
}

// take lets lines wait for the next commit, or says why not.
func (l *logs) take(w logWrites) error {
	if full := l.batcher.Take(w, len(w.chunks), w.bytes); full > 0 {
		return messages.Errorf(messages.CodeUnavailable, "%d bytes of logs wait for the journal, more than LogQueueBytesMax = %d", full, messages.LogQueueBytesMax)
	}
	return nil
}

// store makes lines durable.
func (l *logs) store(batch []logWrites) {
	var chunks []journal.LogWrite
	for _, w := range batch {
		chunks = append(chunks, w.chunks...)
	}
	err := l.host.cfg.Store.WriteLogs(l.host.ctx, chunks)
	for _, w := range batch {
		w.reply(&messages.WriteLogsReply{Error: messages.ToFailure(err)})
	}
}

// note logs what an entry says of attempts that failed.
func (l *logs) note(state *run.State, entry *messages.Entry) {
	w := logWrites{reply: func(proto.Message) {}} // the history says it too
	failed := map[string]bool{}
	for i, ev := range entry.Events {
		if !endsBadly(ev) {
			continue // as most, of which nothing is made
		}
		c := failureIn(state, ev)
		if ev.GetStepFailed() != nil && failed[c.Step] {
			continue
		}
		failed[c.Step] = ev.GetAttemptFailed() != nil
		w.add(state.RunID, -int64(state.Number<<16|uint64(i)), c)
	}
	if len(w.chunks) > 0 {
		_ = l.take(w)
	}
}

// endsBadly says that an event ends an attempt, or a step, without success.
func endsBadly(ev *messages.Event) bool {
	switch ev.Kind.(type) {
	case *messages.Event_AttemptFailed, *messages.Event_AttemptLost, *messages.Event_StepFailed:
		return true
	}
	return false
}

// failureIn is the line of an event that ends badly.
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
