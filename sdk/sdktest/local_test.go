package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// box is a value of local state.
type box struct {
	number   int32
	worker   string
	released atomic.Bool
}

// boxes makes boxes and knows what became of them.
type boxes struct {
	built    atomic.Int32
	released chan string // "number why"
}

func newBoxes() *boxes { return &boxes{released: make(chan string, 100)} }

func (b *boxes) bind(ctx sdk.BindContext, _ int) (*box, error) {
	return &box{number: b.built.Add(1), worker: ctx.WorkerID()}, nil
}

func (b *boxes) release(v *box, why sdk.Why) error {
	if v.released.Swap(true) {
		b.released <- fmt.Sprintf("%d released twice", v.number)
	}
	b.released <- fmt.Sprintf("%d %s", v.number, why)
	return nil
}

// next returns what is released next.
func (b *boxes) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-b.released:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was released")
	}
	return ""
}

// seen is what a step saw of its local state.
type seen struct {
	Worker  string
	Box     int32
	Binding sdk.Binding
}

func look(ctx sdk.Context, l *sdk.Local[*box]) (seen, error) {
	v, err := l.Get(ctx)
	if err != nil {
		return seen{}, err
	}
	if v.released.Load() {
		return seen{}, errors.New("the value was released")
	}
	return seen{ctx.WorkerID(), v.number, ctx.Binding()}, nil
}

func TestLocalIsBuiltOnceAndKeptUntilTheRunEnds(t *testing.T) {
	for name, sticky := range map[string]sdk.Sticky{"soft": sdk.Soft, "hard": sdk.Hard} {
		t.Run(name, func(t *testing.T) {
			b := newBoxes()
			w := sdk.NewWorkflow[int]("kept", sdk.WorkflowConfig{Sticky: sticky})
			building := make(chan struct{})
			kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Release: b.release, Bind: func(ctx sdk.BindContext, in int) (*box, error) {
				<-building // until all roots run
				return b.bind(ctx, in)
			}})
			var roots []sdk.AnyStep
			var began atomic.Int32
			for i := range 3 {
				roots = append(roots, sdk.AddStep(w, fmt.Sprintf("root%d", i), func(ctx sdk.Context, _ int) (seen, error) {
					if began.Add(1) == 3 {
						close(building)
					}
					return look(ctx, kept)
				}))
			}
			last := sdk.AddStep(w, "last", func(ctx sdk.Context, _ int) (seen, error) { return look(ctx, kept) }, sdk.StepConfig{Parents: roots})
			e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
			run, err := w.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := last.Result(t.Context(), run); err != nil || out.Box != 1 {
				t.Errorf("%+v, %v", out, err)
			}
			if got := b.next(t); got != "1 run-ended" || b.built.Load() != 1 {
				t.Errorf("%s, built %d", got, b.built.Load())
			}
		})
	}
}

func TestLocalIsReleasedWhenTheRunIsReboundElsewhere(t *testing.T) {
	b := newBoxes()
	w := sdk.NewWorkflow[int]("moves", sdk.WorkflowConfig{Sticky: sdk.Soft})
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: b.bind, Release: b.release})
	arrived := make(chan string, 2)
	only := sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (seen, error) {
		out, err := look(ctx, kept)
		if ctx.Attempt() == 1 {
			arrived <- ctx.WorkerID()
			<-ctx.Done()
			return out, ctx.Err()
		}
		return out, err
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	old := <-arrived
	if err := e.KillWorker(old); err != nil {
		t.Fatal(err)
	}
	if got := b.next(t); got != "1 worker-stopping" {
		t.Error(got)
	}
	out, err := only.Result(t.Context(), run)
	if err != nil || out.Box != 2 || out.Worker == old || out.Binding.Epoch != 2 || out.Binding.Token() != 2 || out.Binding.StateReason != sdk.ReasonWorkerLost {
		t.Errorf("%+v, %v", out, err)
	}
	if got := b.next(t); got != "2 run-ended" {
		t.Error(got)
	}
}

var _ = []any{context.Background, slices.Sort[[]int], strings.Join, sync.OnceFunc, worker.NoIdle}
