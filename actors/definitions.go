package actors

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// definitionsFreshFor is how long a server trusts its list of current
// definitions before it looks again whether another server recorded newer ones.
const definitionsFreshFor = time.Second

// Definition is a recorded version of a workflow, ready for use. It must not
// be changed.
type Definition struct {
	Hash   string
	Def    *messages.WorkflowDefinition
	schema *messages.InputSchema
}

// CheckInput returns INVALID_INPUT or PAYLOAD_TOO_LARGE for an input that does
// not fit the workflow.
func (d *Definition) CheckInput(input []byte) error { return d.schema.Check(input) }

// Definitions is a server's view of the recorded workflows: versions by hash,
// which never change, and the current version of each name. It is safe for
// concurrent use.
type Definitions struct {
	store journal.Store

	mu      sync.RWMutex
	byHash  map[string]*Definition
	current map[string]*Definition
	readAt  time.Time
}

// NewDefinitions reads definitions from the store as they are asked for.
func NewDefinitions(store journal.Store) *Definitions {
	return &Definitions{store: store, byHash: map[string]*Definition{}, current: map[string]*Definition{}}
}

// ByHash returns a version; UNKNOWN_WORKFLOW if it was never recorded.
func (d *Definitions) ByHash(ctx context.Context, hash string) (*Definition, error) {
	if def := d.cached(hash); def != nil {
		return def, nil
	}
	stored, err := d.store.Definition(ctx, hash)
	if err != nil {
		return nil, err
	}
	return d.keep(stored)
}

func (d *Definitions) cached(hash string) *Definition {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byHash[hash]
}

// Current returns the version of a name that was registered last;
// UNKNOWN_WORKFLOW, naming those that there are, if there is none.
func (d *Definitions) Current(ctx context.Context, name string) (*Definition, error) {
	if def := d.currentCached(name); def != nil {
		return def, nil
	}
	all, err := d.All(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, def := range all {
		if def.Def.Name == name {
			return def, nil
		}
		names = append(names, def.Def.Name)
	}
	known := "none is registered"
	if len(names) > 0 {
		known = "registered are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return nil, messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q: %s", name, known)
}

func (d *Definitions) currentCached(name string) *Definition {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if time.Since(d.readAt) > definitionsFreshFor {
		return nil
	}
	return d.current[name]
}

// All returns the current version of every workflow, by name.
func (d *Definitions) All(ctx context.Context) ([]*Definition, error) {
	stored, err := d.store.CurrentDefinitions(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Definition, 0, len(stored))
	for _, s := range stored {
		def, err := d.keep(s)
		if err != nil {
			return nil, err
		}
		all = append(all, def)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Def.Name < all[j].Def.Name })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, def := range all {
		d.current[def.Def.Name] = def
	}
	d.readAt = time.Now()
	return all, nil
}

// Forget makes the next look-up read the store: something was registered.
func (d *Definitions) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readAt = time.Time{}
}

func (d *Definitions) keep(stored journal.Definition) (*Definition, error) {
	if def := d.cached(stored.Hash); def != nil {
		return def, nil
	}
	def := &Definition{Hash: stored.Hash, Def: new(messages.WorkflowDefinition)}
	if err := proto.Unmarshal(stored.Data, def.Def); err != nil {
		return nil, messages.Errorf(messages.CodeJournalCorrupt, "definition %s of workflow %q: %w", stored.Hash, stored.Name, err)
	}
	schema, err := messages.CompileInputSchema(def.Def.InputSchema)
	if err != nil {
		return nil, fmt.Errorf("definition %s of workflow %q: %w", stored.Hash, stored.Name, err)
	}
	def.schema = schema
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byHash[stored.Hash] = def
	return def, nil
}

// hasSteps says that a worker has registered all steps of a definition.
func hasSteps(w *messages.WorkerInfo, def *messages.WorkflowDefinition) bool {
	for _, have := range w.GetWorkflows() {
		if have.Name != def.Name {
			continue
		}
		for _, s := range def.Steps {
			if have.StepNamed(s.Name) == nil {
				return false
			}
		}
		return true
	}
	return false
}
