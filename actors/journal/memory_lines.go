package journal

import (
	"context"

	"github.com/google/btree"
)

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

// CountInLine implements Store.
func (m *Memory) CountInLine(ctx context.Context, shards []int, line int64, limit int) (int, error) {
	return m.countIn(ctx, shards, m.inLine, Row{Line: line}, limit, func(r *Row) bool { return r.Line == line })
}

// CountWokenByUp implements Store.
func (m *Memory) CountWokenByUp(ctx context.Context, shards []int, limit int) (int, error) {
	return m.countIn(ctx, shards, m.onUp, Row{}, limit, func(*Row) bool { return true })
}

// countIn counts the runs of shards in a view, from a place on and as long as they
// are of those that are asked for.
func (m *Memory) countIn(ctx context.Context, shards []int, view *btree.BTreeG[*memoryRun], from Row, limit int, of func(*Row) bool) (n int, _ error) {
	if err := m.read(ctx); err != nil {
		return 0, err
	}
	defer m.mu.RUnlock()
	set := NewShardSet(shards)
	view.AscendGreaterOrEqual(&memoryRun{row: from}, func(run *memoryRun) bool {
		if n >= limit || !of(&run.row) {
			return false
		}
		if set.Has(run.row.Shard) {
			n++
		}
		return true
	})
	return n, nil
}
