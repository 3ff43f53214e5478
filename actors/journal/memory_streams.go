package journal

import (
	"context"
	"maps"
	"slices"
)

// memoryStreams are the streams of a run in a Memory, by name; their sections in order.
type memoryStreams map[string][]*memorySection

type memorySection struct {
	StreamSection
	// began is the number of the entry that it began with.
	began  uint64
	pieces [][]byte
}

// changeStreams carries out what an entry says.
func (r *memoryRun) changeStreams(entry uint64, changes []StreamChange) {
	for _, c := range changes {
		if r.streams == nil {
			r.streams = memoryStreams{}
		}
		s := r.streams.section(c.Stream, c.Section)
		if s == nil && c.Attempt != 0 {
			s = &memorySection{began: entry, StreamSection: StreamSection{Stream: c.Stream, Section: c.Section, Step: c.Step, Attempt: c.Attempt}}
			r.streams[c.Stream] = append(r.streams[c.Stream], s)
		}
		if s != nil {
			s.Over = s.Over || c.Over
		}
	}
}

// cut forgets the sections that began with entries up to a number, but the newest of each
// stream.
func (m memoryStreams) cut(upTo uint64) {
	for name, all := range m {
		newest := len(all) - 1
		kept := slices.DeleteFunc(slices.Clone(all[:newest]), func(s *memorySection) bool { return s.Over && s.began <= upTo })
		m[name] = append(kept, all[newest])
	}
}

func (m memoryStreams) section(stream string, number int32) *memorySection {
	for _, s := range m[stream] {
		if s.Section == number {
			return s
		}
	}
	return nil
}

// WriteStreams implements StreamStore.
func (m *Memory) WriteStreams(ctx context.Context, batch []StreamWrite) []StreamWritten {
	if err := unavailable(ctx); err != nil {
		return AllStreams(batch, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sections, totals := map[StreamKey]*StreamSection{}, map[string]*StreamTotals{}
	for i := range batch {
		run := m.runs[batch[i].RunID]
		if run == nil {
			continue
		}
		if s := run.streams.section(batch[i].Stream, batch[i].Section); s != nil {
			sections[batch[i].Key()] = &s.StreamSection
		}
		total := &StreamTotals{}
		for _, all := range run.streams {
			for _, s := range all {
				total.Bytes, total.Pieces = total.Bytes+s.Bytes, total.Pieces+int64(s.Pieces)
			}
		}
		totals[batch[i].RunID] = total
	}
	add, out := AdmitStreams(batch, sections, totals)
	for i := range add {
		s := m.runs[add[i].RunID].streams.section(add[i].Stream, add[i].Section)
		s.pieces = append(s.pieces, cloneAll(add[i].Pieces)...)
	}
	return out
}

// AllStreams says of each element that it came out with an error.
func AllStreams(batch []StreamWrite, err error) []StreamWritten {
	out := make([]StreamWritten, len(batch))
	for i := range out {
		out[i].Err = err
	}
	return out
}

// ReadStream implements StreamStore.
func (m *Memory) ReadStream(ctx context.Context, runID, stream string, from StreamPlace, bytesMax int) (page StreamPage, err error) {
	if err := m.read(ctx); err != nil {
		return page, err
	}
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return page, UnknownRun(runID)
	}
	bytes := 0
	for _, s := range run.streams[stream] {
		if page.Newest = s.Section; page.Oldest == 0 {
			page.Oldest = s.Section
		}
		if s.Section == from.Section {
			page.At = s.StreamSection
		}
		if s.Section < from.Section {
			continue
		}
		next := uint64(1)
		if s.Section == from.Section {
			next = max(next, from.Number)
		}
		p := StreamPieces{Section: s.Section, First: next, Step: s.Step, Attempt: s.Attempt}
		for ; next <= s.Pieces && (bytes == 0 || bytes < bytesMax); next++ {
			piece := slices.Clone(s.pieces[next-1])
			p.Pieces = append(p.Pieces, piece)
			bytes += max(len(piece), 1)
		}
		if len(p.Pieces) > 0 {
			page.Pieces = append(page.Pieces, p)
		}
		if next <= s.Pieces {
			bytes = max(bytes, bytesMax, 1)
		}
	}
	return page, nil
}

// Streams implements StreamStore.
func (m *Memory) Streams(ctx context.Context, runID string) ([]StreamInfo, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	run := m.runs[runID]
	if run == nil {
		return nil, nil
	}
	var sections []StreamSection
	for _, name := range slices.Sorted(maps.Keys(run.streams)) {
		for _, s := range run.streams[name] {
			sections = append(sections, s.StreamSection)
		}
	}
	return StreamInfos(sections), nil
}
