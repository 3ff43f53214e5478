package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/messages"
)

// sharing defines a workflow whose runs share a value by their input, and the
// local state of its workers.
func (w *hostWorld) sharing(name string, key func([]byte) (string, error)) *messages.WorkflowDefinition {
	def := w.Workflow(name, messages.Sticky_STICKY_SOFT, succeed)
	def.Locals = []*messages.LocalDefinition{{Name: "model", Shared: true}, {Name: "scratch"}}
	if w.Locals == nil {
		w.Locals = attempt.Locals{}
	}
	bind := func(context.Context, *attempt.Build) (any, error) { return 1, nil }
	w.Locals[name] = map[string]*attempt.Local{
		"model":   {Name: "model", Origin: "model of " + name, Bind: bind, Key: key},
		"scratch": {Name: "scratch", Origin: "scratch of " + name, Bind: bind},
	}
	return def
}

// startedWith starts runs with inputs and returns the keys that are recorded.
func (w *hostWorld) startedWith(s *actorstest.Server, def *messages.WorkflowDefinition, inputs ...string) []map[string][]byte {
	w.T.Helper()
	runs := make([]*messages.StartRun, len(inputs))
	for i, input := range inputs {
		runs[i] = actorstest.StartOf(messages.NewRunID(), def)
		runs[i].Start.Input = []byte(input)
	}
	replies, err := s.Host.Engine().StartRuns(w.T.Context(), runs)
	if err != nil {
		w.T.Fatal(err)
	}
	keys := make([]map[string][]byte, len(runs))
	for i, r := range runs {
		if err := messages.FromFailure(replies[i].Error); err != nil {
			w.T.Fatal(err)
		}
		if len(r.Start.LocalKeys) > 0 {
			w.T.Fatal("the caller's message was changed")
		}
		_, m, err := s.Host.Stored(w.T.Context(), r.RunId)
		if err != nil {
			w.T.Fatal(err)
		}
		keys[i] = m.State().Start.LocalKeys
	}
	return keys
}

func corpus(input []byte) (string, error) {
	var in struct{ Corpus string }
	err := json.Unmarshal(input, &in)
	if err == nil && in.Corpus == "" {
		err = errors.New("no corpus")
	}
	return in.Corpus, err
}

func TestStartLearnsTheKeysOfSharedState(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		def := w.sharing("index", corpus)
		w.Worker("w1", def)
		time.Sleep(time.Second)
		got := w.startedWith(s, def, `{"corpus":"a"}`, `{}`, `{"corpus":"b"}`)
		if string(got[0]["model"]) != "a" || got[1] != nil || string(got[2]["model"]) != "b" || len(got[0]) != 1 {
			w.T.Fatalf("recorded keys: %v", got)
		}
		// More than one question holds.
		var inputs []string
		for i := range 3 * server.KeysPart {
			inputs = append(inputs, fmt.Sprintf(`{"corpus":"c%d"}`, i))
		}
		for i, keys := range w.startedWith(s, def, inputs...) {
			if want := fmt.Sprintf("c%d", i); string(keys["model"]) != want {
				w.T.Fatalf("run %d has keys %v, want %s", i, keys, want)
			}
		}
	})
}

// TestKeysAreAnyBytes: a key need not be text, not even to be shown.
func TestKeysAreAnyBytes(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		def := w.sharing("index", func([]byte) (string, error) { return "\xff\x00", nil })
		w.Worker("w1", def)
		time.Sleep(time.Second)
		got := w.startedWith(s, def, `{}`)
		if string(got[0]["model"]) != "\xff\x00" {
			w.T.Fatalf("recorded keys: %v", got)
		}
		if _, err := proto.Marshal(&messages.RunStarted{LocalKeys: got[0]}); err != nil {
			w.T.Fatal(err)
		}
	})
}

// TestStartGoesOnWithoutKeys: nobody answers, or nobody is there; a start waits
// for that once, and for a bounded time.
func TestStartGoesOnWithoutKeys(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		block := make(chan struct{})
		def := w.sharing("index", func([]byte) (string, error) { <-block; return "late", nil })
		w.Record(def)
		began := time.Now()
		if got := w.startedWith(s, def, `{}`); got[0] != nil || time.Since(began) > 50*time.Millisecond {
			w.T.Fatalf("without a worker: keys %v after %v", got, time.Since(began))
		}
		w.Worker("w1", def)
		time.Sleep(time.Second)
		began = time.Now()
		got := w.startedWith(s, def, `{}`, `{}`)
		if took := time.Since(began); got[0] != nil || took < server.KeysWithin || took > server.KeysWithin+200*time.Millisecond {
			w.T.Fatalf("with a worker that does not answer: keys %v after %v", got, took)
		}
		close(block)
	})
}

// TestStartAsksAnotherWorker: one that is frozen delays one start, and for less
// than all of the time.
func TestStartAsksAnotherWorker(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		def := w.sharing("index", corpus)
		for _, id := range []string{"w1", "w2"} {
			w.Worker(id, def)
		}
		var first *messages.WorkerInfo
		for first == nil {
			if all := s.Host.KeyCandidates(def, 2); len(all) == 2 {
				first = all[0]
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.Network.Host(first.WorkerId).Freeze()
		defer w.Network.Host(first.WorkerId).Thaw()
		for i, most := range []time.Duration{server.KeysHedge + 150*time.Millisecond, 50 * time.Millisecond} {
			began := time.Now()
			if got := w.startedWith(s, def, `{"corpus":"a"}`); string(got[0]["model"]) != "a" || time.Since(began) > most {
				w.T.Fatalf("start %d: keys %v after %v", i, got, time.Since(began))
			}
		}
	})
}

// TestStartTwiceWithKeys: the keys are no part of what a start with the same id
// is compared by.
func TestStartTwiceWithKeys(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		def := w.sharing("index", corpus)
		w.Record(def)
		run := actorstest.StartOf(messages.NewRunID(), def)
		run.Start.Input = []byte(`{"corpus":"a"}`)
		for i, existed := range []bool{false, true} {
			replies, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{run})
			if err != nil || replies[0].Error != nil || replies[0].Existed != existed {
				w.T.Fatalf("start %d: %v %v", i, replies, err)
			}
			if i == 0 {
				w.Worker("w1", def) // the second start learns a key
				time.Sleep(time.Second)
			}
		}
		other := actorstest.StartOf(run.RunId, def)
		other.Start.Input = []byte(`{"corpus":"b"}`)
		replies, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{other})
		if err != nil || messages.CodeOf(messages.FromFailure(replies[0].Error)) != messages.CodeIdempotencyMismatch {
			w.T.Fatalf("another input: %v %v", replies, err)
		}
	})
}

// TestRunsWithOneKeyShareAWorker: runs that ask for one key go to one worker,
// others elsewhere.
func TestRunsWithOneKeyShareAWorker(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		s := w.Server("s1")
		def := w.sharing("index", corpus)
		for _, id := range []string{"w1", "w2", "w3"} {
			w.WorkerWith(id, w.Network.Host(id), 100, def)
		}
		time.Sleep(time.Second)
		places := map[string]map[string]bool{}
		for i := range 60 {
			key := fmt.Sprint("c", i%3)
			run := actorstest.StartOf(fmt.Sprintf("r%d", i), def)
			run.Start.Input = []byte(fmt.Sprintf(`{"corpus":%q}`, key))
			if _, err := s.Host.Engine().StartRuns(w.T.Context(), []*messages.StartRun{run}); err != nil {
				w.T.Fatal(err)
			}
			w.Ends(s, run.RunId, time.Minute, messages.RunStatus_RUN_STATUS_SUCCEEDED)
			_, m, err := s.Host.Stored(w.T.Context(), run.RunId)
			if err != nil {
				w.T.Fatal(err)
			}
			if places[key] == nil {
				places[key] = map[string]bool{}
			}
			places[key][m.State().Binding.Worker.GetWorkerId()] = true
		}
		for key, at := range places {
			if len(at) != 1 {
				w.T.Errorf("runs with key %s were on %v", key, slices.Sorted(maps.Keys(at)))
			}
		}
	})
}
