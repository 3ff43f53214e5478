package definitions

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"google.golang.org/protobuf/proto"
)

// readsCounted counts the readings of all definitions, which take a while.
type readsCounted struct {
	journal.Store
	n atomic.Int32
}

func (s *readsCounted) CurrentDefinitions(ctx context.Context) ([]journal.Definition, error) {
	s.n.Add(1)
	all, err := s.Store.CurrentDefinitions(ctx)
	time.Sleep(50 * time.Millisecond)
	return all, err
}

// Many ask for the current version while another server registers a newer one:
// one reading at a time, nobody waits for it but the first, and the newer one is
// seen within a second.
func TestDefinitionsAreReadByOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &readsCounted{Store: journal.NewMemory()}
		d := New(store)
		version := func(retries int32) *messages.WorkflowDefinition {
			return &messages.WorkflowDefinition{Name: "build", Steps: []*messages.StepDefinition{{Name: "work", Retries: retries}}}
		}
		put := func(def *messages.WorkflowDefinition) {
			data, err := proto.Marshal(def)
			if err != nil {
				t.Fatal(err)
			}
			err = store.PutDefinition(t.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
		}
		put(version(1))
		var newer, seen atomic.Int64
		var slowest atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for i := range 1000 {
					begin := time.Now()
					def, err := d.Current(t.Context(), "build")
					if err != nil {
						t.Error(err)
						return
					}
					if took := time.Since(begin); i > 0 && int64(took) > slowest.Load() {
						slowest.Store(int64(took))
					}
					if def.Def.Steps[0].Retries == 2 {
						seen.CompareAndSwap(0, time.Now().UnixNano())
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(3 * time.Second)
		newer.Store(time.Now().UnixNano())
		put(version(2))
		all.Wait()
		if n := store.n.Load(); n < 10 || n > 25 {
			t.Errorf("the definitions were read %d times in 10 s", n)
		}
		if late := time.Duration(seen.Load() - newer.Load()); late <= 0 || late > time.Second {
			t.Errorf("the newer version was seen after %v", late)
		}
		if slow := time.Duration(slowest.Load()); slow > 0 {
			t.Errorf("a call took %v", slow)
		}
		// What is registered here is seen at once.
		put(version(3))
		d.Forget()
		if def, err := d.Current(t.Context(), "build"); err != nil || def.Def.Steps[0].Retries != 3 {
			t.Errorf("after its registration: %v, %v", def, err)
		}
	})
}

// What nobody asks for is forgotten beyond a number of bytes, the oldest first, and
// read again when somebody asks.
func TestKeptVersionsAreBounded(t *testing.T) {
	d := New(journal.NewMemory())
	const size = keptBytesMax / 4
	for i := range 6 {
		d.add(&Definition{Hash: string(rune('a' + i)), bytes: size})
		d.cached("a")
	}
	for hash, kept := range map[string]bool{"a": true, "b": false, "c": false, "d": true, "e": true, "f": true} {
		if (d.cached(hash) != nil) != kept {
			t.Errorf("version %s is kept: %v", hash, !kept)
		}
	}
	d.add(&Definition{Hash: "f", bytes: size})
	if d.keptBytes != 4*size {
		t.Errorf("%d bytes are counted, %d are kept", d.keptBytes, 4*size)
	}
	d.add(&Definition{Hash: "huge", bytes: 2 * keptBytesMax})
	if d.byHash.Len() != 1 || d.cached("huge") == nil {
		t.Errorf("beside one that is larger than the bound, %d are kept", d.byHash.Len()-1)
	}
}
