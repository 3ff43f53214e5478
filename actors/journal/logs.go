package journal

import (
	"context"

	"github.com/limpetrun/limpet/messages"
)

// Logs of runs: what their steps have said, beside the history. A run is loaded without
// them, and deleted with them. The log of a run is one sequence of chunks, of whatever
// attempts, in the order in which they were stored.
//
// Streams do not do for that. One is opened by an entry for each attempt, read section
// by section, and takes nothing from an attempt that is over; a log costs no entry,
// shows steps that run beside each other as they go on, and has the last words of an
// attempt that is lost. It is written at most once a second and may lack lines: it
// says how many.
//
//	L1  a chunk is stored once, and not changed
//	L2  places grow in the order in which chunks of a run can be read
//	L3  of a run at most LogRunBytesMax and one attempt are kept

// LogWrite is a chunk of a run's log.
type LogWrite struct {
	RunID string
	// Step, Attempt and First name the chunk in its run. First is that of its lines, or
	// less than 0 for what a server says.
	Step    string
	Attempt int32
	First   int64
	// Data is a marshalled messages.LogChunk.
	Data []byte
}

// Begins says that it is the first of its attempt: then room is made.
func (w *LogWrite) Begins() bool { return w.First <= 1 }

// StoredLog is a chunk where it is stored.
type StoredLog struct {
	Place int64
	Data  []byte
}

// LogStore keeps the logs of runs.
type LogStore interface {
	// WriteLogs makes chunks durable in one commit. What is there already, and what is
	// of a run that is not there, is left out. An error is of the whole commit; the same
	// may be written again.
	WriteLogs(ctx context.Context, batch []LogWrite) error

	// ReadLog returns chunks of a run after a place, in order: at least one if there are
	// any, and no more than about bytesMax bytes. A run that is not there has none.
	ReadLog(ctx context.Context, runID string, after int64, bytesMax int) ([]StoredLog, error)
}

// logKey names a chunk in its run.
type logKey struct {
	step    string
	attempt int32
	first   int64
}

// memoryLog is the log of a run in memory.
type memoryLog struct {
	chunks []StoredLog
	known  map[logKey]bool
}

// WriteLogs implements LogStore.
func (m *Memory) WriteLogs(ctx context.Context, batch []LogWrite) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		w := &batch[i]
		if run := m.runs[w.RunID]; run != nil {
			m.logPlace++
			run.log.add(w, m.logPlace)
		}
	}
	return nil
}

func (l *memoryLog) add(w *LogWrite, place int64) {
	key := logKey{w.Step, w.Attempt, w.First}
	if l.known[key] {
		return
	}
	if l.known == nil {
		l.known = map[logKey]bool{}
	}
	l.known[key] = true
	l.chunks = append(l.chunks, StoredLog{place, append([]byte(nil), w.Data...)})
	if !w.Begins() {
		return
	}
	bytes := 0
	for i := len(l.chunks) - 1; i >= 0; i-- {
		if bytes += len(l.chunks[i].Data); bytes > messages.LogRunBytesMax {
			l.chunks = append([]StoredLog(nil), l.chunks[i+1:]...)
			return
		}
	}
}

// ReadLog implements LogStore.
func (m *Memory) ReadLog(ctx context.Context, runID string, after int64, bytesMax int) (out []StoredLog, err error) {
	if err := unavailable(ctx); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return nil, nil
	}
	bytes := 0
	for _, c := range run.log.chunks {
		if c.Place <= after {
			continue
		}
		if bytes += len(c.Data); len(out) > 0 && bytes > bytesMax {
			break
		}
		out = append(out, StoredLog{c.Place, append([]byte(nil), c.Data...)})
	}
	return out, nil
}
