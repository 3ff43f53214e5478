// Package definitions has the recorded workflows of a cluster as a server knows
// them, ready for use.
//
// Data flow: journal → Cache → Definition → gateway, hosts and runs.
//
// Rules: a version never changes; it is read and compiled once, and again only
// after it was not asked for in a long time.
//
// New runs start with the current version of a name: the one that was registered
// first last, or one that was chosen by hand after that. What is changed by
// another server is known here within a second.
//
// Imports only journal and messages.
package definitions

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

const (
	// freshFor is how long a server trusts its list of current
	// definitions: another server may record a newer one.
	freshFor = time.Second
	// renewAfter is the age at which a call has the list read again,
	// and does not wait for it.
	renewAfter = freshFor / 2
	// readWithin bounds a reading.
	readWithin = 5 * time.Second
	// keptMost and keptBytesMax bound the versions that are kept, as they are
	// stored. A cluster that deploys often has many that nobody asks for any more.
	keptMost     = 10_000
	keptBytesMax = 64 << 20
)

// Definition is a recorded version of a workflow, ready for use. It must not
// be changed.
type Definition struct {
	Hash string
	Def  *messages.WorkflowDefinition
	// RegisteredAt is when the process started that registered it first.
	RegisteredAt time.Time
	schema       *messages.InputSchema
	// bytes is its size as it is stored.
	bytes int
}

// NewDefinition makes a version ready for use. INVALID_DEFINITION if the schema of
// its input is none.
func NewDefinition(hash string, def *messages.WorkflowDefinition) (*Definition, error) {
	schema, err := messages.CompileInputSchema(def.GetInputSchema())
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q version %s: %w", def.GetName(), hash, err)
	}
	return &Definition{Hash: hash, Def: def, schema: schema}, nil
}

// Workflow is a workflow in its current version.
type Workflow struct {
	*Definition
	// ChosenAt is when the version was made current by hand; zero for the newest.
	ChosenAt time.Time
	// RetiredAt is since when it starts no new runs; zero if it does.
	RetiredAt time.Time
	// UnservedSince is since when no worker serves it, as far as that was noted;
	// zero while one does.
	UnservedSince time.Time
}

// MayStart returns WORKFLOW_RETIRED for a workflow that starts no new runs.
func (w Workflow) MayStart() error {
	if w.RetiredAt.IsZero() {
		return nil
	}
	return messages.Errorf(messages.CodeWorkflowRetired, "workflow %q is retired and starts no new runs; `limpet workflow restore %s` takes that back", w.Def.GetName(), w.Def.GetName())
}

// Served is a workflow with who serves it, as a server sees that.
type Served struct {
	Workflow
	// Workers with a version of it that take new runs.
	Workers int
	// LeftOutSince is since when events start none of its runs, for no worker has
	// served it for LeftOutAfter; zero if they do.
	LeftOutSince time.Time
	LeftOutAfter time.Duration
}

// MayStartByEvent returns why events start none of its runs: WORKFLOW_RETIRED,
// WORKFLOW_UNSERVED; nil if they do.
func (s Served) MayStartByEvent() error {
	if err := s.MayStart(); err != nil || s.LeftOutSince.IsZero() {
		return err
	}
	return messages.Errorf(messages.CodeWorkflowUnserved, "no worker has served workflow %q for %s (--unserved-after): events start none of its runs until one does", s.Def.GetName(), s.LeftOutAfter)
}

// CheckInput returns INVALID_INPUT or PAYLOAD_TOO_LARGE for an input that does
// not fit the workflow. What an encoded one holds only its worker sees.
func (d *Definition) CheckInput(input []byte) error {
	if messages.IsEncoded(input) {
		return messages.CheckPayload("the encoded input", input)
	}
	return d.schema.Check(input)
}

// Cache is a server's view of the recorded workflows: versions by hash, which
// never change, and the current version of each name. It is safe for
// concurrent use.
type Cache struct {
	store journal.Store
	// readings are those under way: who comes in between shares one.
	readings singleflight.Group

	mu sync.Mutex
	// byHash forgets what was not asked for longest; keptBytes is the sum of what
	// it holds.
	byHash    *simplelru.LRU[string, *Definition]
	keptBytes int
	current   map[string]Workflow
	// readAt is when the newest reading began; forgotten counts the calls of
	// Forget.
	readAt    time.Time
	forgotten uint64
}

// New makes a Cache that reads definitions from the store as they are asked for.
func New(store journal.Store) *Cache {
	d := &Cache{store: store, current: map[string]Workflow{}}
	// The only error is of a size below one.
	d.byHash, _ = simplelru.NewLRU(keptMost, func(_ string, old *Definition) { d.keptBytes -= old.bytes })
	return d
}

// ByHash returns a version; UNKNOWN_WORKFLOW if it was never recorded.
func (d *Cache) ByHash(ctx context.Context, hash string) (*Definition, error) {
	if def := d.cached(hash); def != nil {
		return def, nil
	}
	stored, err := d.store.Definition(ctx, hash)
	if err != nil {
		return nil, err
	}
	return d.keep(stored)
}

func (d *Cache) cached(hash string) *Definition {
	d.mu.Lock()
	defer d.mu.Unlock()
	def, _ := d.byHash.Get(hash)
	return def
}

// Current returns a workflow as it was a second ago at the latest, or later;
// UNKNOWN_WORKFLOW, naming those that there are, if there is none of the name.
func (d *Cache) Current(ctx context.Context, name string) (Workflow, error) {
	if w, age := d.currentCached(name); w.Definition != nil && age < freshFor {
		if age >= renewAfter {
			d.readings.DoChan(d.readKey(), d.renew)
		}
		return w, nil
	}
	all, err := d.All(ctx)
	if err != nil {
		return Workflow{}, err
	}
	names := make([]string, 0, len(all))
	for _, w := range all {
		if w.Def.Name == name {
			return w, nil
		}
		names = append(names, w.Def.Name)
	}
	return Workflow{}, unknown(name, names)
}

// unknown is the error for a name that none of the workflows has.
func unknown(name string, names []string) error {
	if len(names) == 0 {
		return messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q: none is registered", name)
	}
	meant := ""
	if near := messages.Nearest(name, names); near != "" {
		meant = fmt.Sprintf("did you mean %q? ", near)
	}
	return messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q: %sregistered are %s", name, meant, strings.Join(names[:min(len(names), 20)], ", "))
}

func (d *Cache) currentCached(name string) (Workflow, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current[name], time.Since(d.readAt)
}

// All returns every workflow, by name. Calls at one time share a reading that
// began after whatever Forget was told of.
func (d *Cache) All(ctx context.Context) ([]Workflow, error) {
	select {
	case r := <-d.readings.DoChan(d.readKey(), d.read):
		if r.Err != nil {
			return nil, r.Err
		}
		return slices.Clone(r.Val.([]Workflow)), nil
	case <-ctx.Done():
		return nil, messages.Errorf(messages.CodeJournalUnavailable, "read the definitions: %w", ctx.Err())
	}
}

// readKey is another one after Forget, so that nobody shares a reading from
// before it.
func (d *Cache) readKey() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strconv.FormatUint(d.forgotten, 10)
}

// renew reads again, unless a reading has ended since it was asked for.
func (d *Cache) renew() (any, error) {
	d.mu.Lock()
	if time.Since(d.readAt) < renewAfter {
		defer d.mu.Unlock()
		return d.sorted(), nil
	}
	d.mu.Unlock()
	return d.read()
}

// read reads the definitions for everybody who waits for them.
func (d *Cache) read() (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	d.mu.Lock()
	began, forgotten := time.Now(), d.forgotten
	d.mu.Unlock()
	stored, err := d.store.Workflows(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Workflow, 0, len(stored))
	for _, s := range stored {
		def, err := d.keep(s.Definition)
		if err != nil {
			return nil, err
		}
		all = append(all, Workflow{Definition: def, ChosenAt: s.ChosenAt, RetiredAt: s.RetiredAt, UnservedSince: s.UnservedSince})
	}
	slices.SortFunc(all, byName)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forgotten == forgotten && began.After(d.readAt) {
		clear(d.current)
		for _, w := range all {
			d.current[w.Def.Name] = w
		}
		d.readAt = began
	}
	return all, nil
}

// sorted returns the current versions by name. Called with mu held.
func (d *Cache) sorted() []Workflow {
	return slices.SortedFunc(maps.Values(d.current), byName)
}

func byName(a, b Workflow) int { return strings.Compare(a.Def.Name, b.Def.Name) }

// Forget makes the next call read the store: something was changed.
func (d *Cache) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readAt = time.Time{}
	d.forgotten++
}

func (d *Cache) keep(stored journal.Definition) (*Definition, error) {
	if def := d.cached(stored.Hash); def != nil {
		return def, nil
	}
	def := new(messages.WorkflowDefinition)
	if err := proto.Unmarshal(stored.Data, def); err != nil {
		return nil, messages.Errorf(messages.CodeJournalCorrupt, "definition %s of workflow %q: %w", stored.Hash, stored.Name, err)
	}
	ready, err := NewDefinition(stored.Hash, def)
	if err != nil {
		return nil, err
	}
	ready.RegisteredAt, ready.bytes = stored.RegisteredAt, len(stored.Data)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(ready)
	return ready, nil
}

// add keeps a version. Called with mu held.
func (d *Cache) add(def *Definition) {
	d.byHash.Remove(def.Hash) // another call may have read it too
	d.byHash.Add(def.Hash, def)
	d.keptBytes += def.bytes
	for d.keptBytes > keptBytesMax && d.byHash.Len() > 1 {
		d.byHash.RemoveOldest()
	}
}
