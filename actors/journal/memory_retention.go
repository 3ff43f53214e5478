package journal

import (
	"context"
	"time"
)

// DeleteFinished implements Store.
func (m *Memory) DeleteFinished(ctx context.Context, before time.Time, limit int) (int, error) {
	if err := unavailable(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < limit {
		run, ok := m.finished.Min()
		if !ok || !run.over(before) {
			break
		}
		if m.asked(run.row.ParentRun, before) {
			m.keep(run, true)
			continue
		}
		m.release(run.row.RunID)
		m.unlink(run)
		delete(m.runs, run.row.RunID)
		m.events.forget(run.row.RunID)
		n++
	}
	return n, nil
}

// over says that the run finished before a time.
func (r *memoryRun) over(before time.Time) bool {
	return Finished(r.row.Status) && !r.kept && !r.row.FinishedAt.IsZero() && Micros(r.row.FinishedAt) < Micros(before)
}

// asked says that a run at or above this one goes on, or stays for its own time.
func (m *Memory) asked(runID string, before time.Time) bool {
	for n := 0; runID != "" && n < AncestorsMax; n++ {
		run := m.runs[runID]
		switch {
		case run == nil:
			return false
		case !run.over(before):
			return true
		}
		runID = run.row.ParentRun
	}
	return false
}

func (m *Memory) keep(run *memoryRun, kept bool) {
	m.unlink(run)
	run.kept = kept
	m.link(run)
}

// release gives back what was kept for a run.
func (m *Memory) release(runID string) {
	var kept []*memoryRun
	m.kept.AscendGreaterOrEqual(&memoryRun{row: Row{ParentRun: runID}}, func(run *memoryRun) bool {
		if run.row.ParentRun != runID {
			return false
		}
		kept = append(kept, run)
		return true
	})
	for _, run := range kept {
		m.keep(run, false)
	}
}
