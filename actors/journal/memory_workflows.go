package journal

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// memoryName is what is recorded of the name of a workflow.
type memoryName struct {
	// chosen is the hash that was chosen last, if any.
	chosen    string
	chosenAt  time.Time
	retiredAt time.Time
	unserved  time.Time
}

// PutDefinition implements Store.
func (m *Memory) PutDefinition(ctx context.Context, d Definition) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.definitions[d.Hash]; known {
		return nil
	}
	d.RegisteredAt = FromMicros(Micros(d.RegisteredAt))
	d.Data = slices.Clone(d.Data)
	m.definitions[d.Hash] = d
	return nil
}

// Definition implements Store.
func (m *Memory) Definition(ctx context.Context, hash string) (Definition, error) {
	if err := m.read(ctx); err != nil {
		return Definition{}, err
	}
	defer m.mu.RUnlock()
	d, ok := m.definitions[hash]
	if !ok {
		return Definition{}, UnknownDefinition(hash)
	}
	d.Data = slices.Clone(d.Data)
	return d, nil
}

// Workflows implements Store.
func (m *Memory) Workflows(ctx context.Context) ([]Workflow, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	newest := make(map[string]Definition)
	for _, d := range m.definitions {
		if old, known := newest[d.Name]; !known || byAge(d, old) < 0 {
			newest[d.Name] = d
		}
	}
	out := make([]Workflow, 0, len(newest))
	for _, d := range newest {
		of := m.names[d.Name]
		w := Workflow{Definition: d, RetiredAt: of.retiredAt, UnservedSince: of.unserved}
		if of.chosenAt.After(d.RegisteredAt) {
			w.Definition, w.ChosenAt = m.definitions[of.chosen], of.chosenAt
		}
		w.Data = slices.Clone(w.Data)
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Workflow) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// byAge puts the newest version first.
func byAge(a, b Definition) int {
	return cmp.Or(b.RegisteredAt.Compare(a.RegisteredAt), cmp.Compare(b.Hash, a.Hash))
}

// Versions implements Store.
func (m *Memory) Versions(ctx context.Context, name string, limit int) ([]Definition, error) {
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	return m.versions(name, limit), nil
}

func (m *Memory) versions(name string, limit int) []Definition {
	var out []Definition
	for _, d := range m.definitions {
		if d.Name == name {
			d.Data = nil
			out = append(out, d)
		}
	}
	slices.SortFunc(out, byAge)
	return out[:max(0, min(limit, len(out)))]
}

// ChooseVersion implements Store.
func (m *Memory) ChooseVersion(ctx context.Context, name, hash string, at time.Time) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, known := m.definitions[hash]; !known || d.Name != name {
		return nil
	}
	of, newest := m.names[name], m.versions(name, 1)[0]
	if of.chosen == hash && of.chosenAt.After(newest.RegisteredAt) {
		return nil
	}
	of.chosen, of.chosenAt = hash, FromMicros(max(Micros(at), Micros(newest.RegisteredAt)+1))
	m.names[name] = of
	return nil
}

// RetireWorkflow implements Store.
func (m *Memory) RetireWorkflow(ctx context.Context, name string, at time.Time) error {
	return m.since(ctx, []string{name}, at, func(of *memoryName) *time.Time { return &of.retiredAt })
}

// NoteUnserved implements Store.
func (m *Memory) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	return m.since(ctx, names, since, func(of *memoryName) *time.Time { return &of.unserved })
}

// since notes of names since when something is so; one that is noted stays, until
// the zero time takes it away.
func (m *Memory) since(ctx context.Context, names []string, at time.Time, field func(*memoryName) *time.Time) error {
	if err := unavailable(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		of := m.names[name]
		if since := field(&of); len(m.versions(name, 1)) > 0 && since.IsZero() != at.IsZero() {
			*since = FromMicros(Micros(at))
			m.names[name] = of
		}
	}
	return nil
}
