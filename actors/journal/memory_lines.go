package journal

import "context"

// InLine implements Store.
func (m *Memory) InLine(ctx context.Context, shards []int, line int64, after Place, limit int) ([]Record, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	var out []Record
	m.inLine.AscendGreaterOrEqual(&memoryRun{row: Row{Line: line, LineSince: after.Since, RunID: after.RunID}}, func(run *memoryRun) bool {
		if len(out) >= limit || run.row.Line != line {
			return false
		}
		if after.Before(run.row.Place()) && set.Has(run.row.Shard) {
			out = append(out, run.record())
		}
		return true
	})
	return out, nil
}

// Lines implements Store.
func (m *Memory) Lines(ctx context.Context, shards []int) ([]int64, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	var out []int64
	m.inLine.Ascend(func(run *memoryRun) bool {
		line := run.row.Line
		if set.Has(run.row.Shard) && (len(out) == 0 || out[len(out)-1] != line) {
			out = append(out, line)
		}
		return true
	})
	return out, nil
}
