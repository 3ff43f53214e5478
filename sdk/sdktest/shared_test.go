package sdktest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// question is the input of runs that share models.
type question struct{ Model, Text string }

// models is a workflow whose runs share boxes by the model that they ask for,
// and hold them until they are let go.
type models struct {
	*sdk.Workflow[question]
	*boxes
	model *sdk.Local[*box]
	ask   *sdk.Step[question, seen]
	// A step that has its box says so, and waits.
	arrived, goOn chan struct{}
}

func newModels(name string, sticky sdk.Sticky) *models {
	m := &models{Workflow: sdk.NewWorkflow[question](name, sdk.WorkflowConfig{Sticky: sticky}), boxes: newBoxes(), arrived: make(chan struct{}, 100), goOn: make(chan struct{}, 100)}
	m.model = sdk.NewLocal(m.Workflow, sdk.LocalConfig[*box, question]{
		Name: "model", Release: m.release,
		Key: func(q question) string { return q.Model },
		Bind: func(ctx sdk.BindContext, q question) (*box, error) {
			if ctx.Key() != q.Model {
				return nil, fmt.Errorf("key %q, model %q", ctx.Key(), q.Model)
			}
			return m.bind(ctx, 0)
		},
		Size: func(*box) int64 { return 100 },
	})
	m.ask = sdk.AddStep(m.Workflow, "ask", func(ctx sdk.Context, _ question) (seen, error) {
		out, err := look(ctx, m.model)
		if err == nil {
			m.arrived <- struct{}{}
			<-m.goOn
		}
		return out, err
	})
	return m
}

// begin starts a run for each of the models.
func (m *models) begin(t *testing.T, e *sdktest.Engine, names ...string) []*sdk.Run {
	t.Helper()
	var in []question
	for _, name := range names {
		in = append(in, question{Model: name})
	}
	runs, err := m.StartMany(t.Context(), e.Client(), in)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// results lets the runs go on and returns the boxes that they saw.
func (m *models) results(t *testing.T, runs []*sdk.Run) []int32 {
	t.Helper()
	var saw []int32
	for range runs {
		m.goOn <- struct{}{}
	}
	for _, run := range runs {
		out, err := m.ask.Result(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		saw = append(saw, out.Box)
	}
	slices.Sort(saw)
	return saw
}

// counter counts what hooks say.
type counter struct {
	mu   sync.Mutex
	said map[string]int
}

func (c *counter) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = map[string]int{}
	}
	c.said[what]++
}

func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.said)
}

func (c *counter) hooks() *worker.Hooks {
	return &worker.Hooks{
		LocalBuilt: func(e worker.LocalEvent, _ time.Duration, bytes int64, err error) {
			c.add(fmt.Sprintf("%s %s built %d %v", e.Local, e.Key, bytes, err))
		},
		LocalHit: func(e worker.LocalEvent) { c.add(fmt.Sprintf("%s %s hit", e.Local, e.Key)) },
		LocalReleased: func(e worker.LocalEvent, why string, err error) {
			c.add(fmt.Sprintf("%s %s %s %v", e.Local, e.Key, why, err))
		},
	}
}

func TestSharedLocalIsBuiltOnceAndEvictedWhenItIsIdle(t *testing.T) {
	for name, sticky := range map[string]sdk.Sticky{"soft": sdk.Soft, "none": sdk.None} {
		t.Run(name, func(t *testing.T) {
			m, c := newModels("models", sticky), &counter{}
			e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", SharedLocalsIdle: 2 * time.Second, Hooks: c.hooks()}}}, m)
			if saw := m.results(t, m.begin(t, e, "a", "a", "a")); !slices.Equal(saw, []int32{1, 1, 1}) {
				t.Errorf("boxes %v", saw)
			}
			// Within its time it is there for the next one.
			if saw := m.results(t, m.begin(t, e, "a")); !slices.Equal(saw, []int32{1}) {
				t.Errorf("boxes %v", saw)
			}
			if got := m.next(t); got != "1 evicted" {
				t.Error(got)
			}
			if saw := m.results(t, m.begin(t, e, "a")); !slices.Equal(saw, []int32{2}) {
				t.Errorf("boxes %v", saw)
			}
			if err := e.StopWorker("w1"); err != nil {
				t.Error(err)
			}
			if got := m.next(t); got != "2 worker-stopping" && got != "2 evicted" {
				t.Error(got)
			}
			if want := "model a built 100 <nil>:2 model a evicted <nil>:1 model a hit:3 model a worker-stopping <nil>:1"; c.String() != "map["+want+"]" &&
				c.String() != "map["+strings.Replace(strings.Replace(want, " model a worker-stopping <nil>:1", "", 1), "evicted <nil>:1", "evicted <nil>:2", 1)+"]" {
				t.Error(c)
			}
		})
	}
}

func TestSharedLocalsMax(t *testing.T) {
	m := newModels("models", sdk.Soft)
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", SharedLocalsMax: 2, SharedLocalsIdle: sdk.Never}}}, m)
	holding := m.begin(t, e, "a", "b")
	<-m.arrived
	<-m.arrived
	if err := m.begin(t, e, "c")[0].Wait(t.Context()); !errors.Is(err, sdk.ErrLimitExceeded) || !strings.Contains(err.Error(), "SharedLocalsMax = 2") {
		t.Errorf("a third value: %v", err)
	}
	m.results(t, holding)
	// The worker hears a moment after its result that a run has ended.
	m.goOn <- struct{}{}
	run := m.begin(t, e, "c")[0]
	for errors.Is(run.Wait(t.Context()), sdk.ErrLimitExceeded) {
		run = m.begin(t, e, "c")[0]
	}
	if out, err := m.ask.Result(t.Context(), run); err != nil || out.Box != 3 {
		t.Errorf("box %d, %v", out.Box, err)
	}
	if got := m.next(t); got != "1 evicted" && got != "2 evicted" {
		t.Error(got)
	}
}

func TestSharedLocalOfSeveralWorkflows(t *testing.T) {
	m := newModels("models", sdk.Soft)
	sums := sdk.NewWorkflow[string]("sums")
	sdk.ShareLocalAs(sums, m.model, func(name string) question { return question{Model: name} })
	sum := sdk.AddStep(sums, "sum", func(ctx sdk.Context, _ string) (seen, error) { return look(ctx, m.model) })
	more := sdk.NewWorkflow[question]("more", sdk.WorkflowConfig{Sticky: sdk.Hard})
	sdk.ShareLocal(more, m.model)
	other := sdk.AddStep(more, "other", func(ctx sdk.Context, _ question) (seen, error) { return look(ctx, m.model) })
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1")}, m, sums, more)
	m.results(t, m.begin(t, e, "a"))
	run, err := sums.Start(t.Context(), e.Client(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := sum.Result(t.Context(), run); err != nil || out.Box != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if run, err = more.Start(t.Context(), e.Client(), question{Model: "a"}); err != nil {
		t.Fatal(err)
	}
	if out, err := other.Result(t.Context(), run); err != nil || out.Box != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}
