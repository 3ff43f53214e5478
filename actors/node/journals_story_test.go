package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// results are what the runs return that a journal of an earlier version holds
// unfinished, by their workflow.
var results = map[string]any{
	"hard":    "first, then second on the same worker",
	"backoff": "attempt 2",
	"handed":  "41 was handed off",
	"parent":  "child of w1",
	"child":   "child of w1",
	"live":    "lived",
	"queued":  "placed",
}

// retryAfter is longer than what is left to do when a journal is written, so
// that it ends in the back-off.
const retryAfter = 20 * time.Second

// story is the workflows of the journals, and where the steps of the unfinished
// runs wait when one is written.
type story struct {
	writing bool
	waits   chan string
}

// wait stops a step of a run that is to be left unfinished.
func (y *story) wait(ctx sdk.Context) error {
	if !y.writing {
		return nil
	}
	y.waits <- ctx.Workflow()
	<-ctx.Done()
	return ctx.Err()
}

// lasting is a configuration whose times do not end while a journal lies.
func lasting(sticky sdk.Sticky) sdk.WorkflowConfig {
	return sdk.WorkflowConfig{Sticky: sticky, ScheduleTimeout: sdk.Never, ExecutionTimeout: sdk.Never}
}

// ---- runs that have ended -----------------------------------------------------

func (y *story) chain() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("chain", lasting(sdk.Soft))
	one := sdk.AddStep(w, "one", func(_ sdk.Context, in int) (int, error) { return in + 1, nil })
	sdk.AddStep(w, "two", func(ctx sdk.Context, in int) (int, error) {
		n, err := one.Output(ctx)
		return 10 * n, err
	}, sdk.StepConfig{Parents: sdk.Steps(one)})
	return w
}

func (y *story) fails() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("fails", lasting(sdk.None))
	a := sdk.AddStep(w, "a", func(ctx sdk.Context, _ int) (int, error) {
		return 0, fmt.Errorf("attempt %d of it", ctx.Attempt())
	}, sdk.StepConfig{Retries: 1, Backoff: time.Millisecond})
	sdk.AddStep(w, "b", func(sdk.Context, int) (int, error) { return 0, nil }, sdk.StepConfig{Parents: sdk.Steps(a)})
	return w
}

func (y *story) canceled() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("canceled", lasting(sdk.Soft))
	sdk.AddStep(w, "a", func(ctx sdk.Context, _ int) (int, error) { return 0, y.wait(ctx) })
	return w
}

func (y *story) replayed() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("replayed", lasting(sdk.Hard))
	sdk.AddStep(w, "a", func(ctx sdk.Context, _ int) (int, error) { return ctx.Attempt(), nil })
	return w
}

// rebuilt loses its worker between the step that builds state and the one that
// needs it.
func (y *story) rebuilt() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("rebuilt", lasting(sdk.Soft))
	load := sdk.AddStep(w, "load", func(ctx sdk.Context, _ int) (string, error) { return ctx.WorkerID(), nil }, sdk.StepConfig{BuildsState: true})
	sdk.AddStep(w, "ask", func(ctx sdk.Context, _ int) (string, error) {
		if ctx.WorkerID() == "r1" {
			return "", y.wait(ctx)
		}
		return string(ctx.Binding().StateReason), nil
	}, sdk.StepConfig{Parents: sdk.Steps(load), NeedsState: true})
	return w
}

// ---- runs that go on ------------------------------------------------------------

// hard waits for its worker, dormant.
func (y *story) hard() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("hard", lasting(sdk.Hard))
	first := sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (string, error) { return ctx.WorkerID(), nil })
	sdk.AddStep(w, "second", func(ctx sdk.Context, _ int) (string, error) {
		if err := y.wait(ctx); err != nil {
			return "", err
		}
		before, err := first.Output(ctx)
		if before != ctx.WorkerID() {
			return "", fmt.Errorf("the worker is %s, it was %s", ctx.WorkerID(), before)
		}
		return "first, then second on the same worker", err
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	return w
}

// backoff waits for its second attempt, dormant.
func (y *story) backoff() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("backoff", lasting(sdk.None))
	sdk.AddStep(w, "a", func(ctx sdk.Context, _ int) (string, error) {
		if ctx.Attempt() == 1 {
			return "", errors.New("the first attempt fails")
		}
		return "attempt " + strconv.Itoa(ctx.Attempt()), nil
	}, sdk.StepConfig{Retries: 1, Backoff: retryAfter})
	return w
}

// handed has left its worker with its local state, and has no other one yet.
func (y *story) handed() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("handed", lasting(sdk.Soft))
	state := sdk.NewLocal(w, sdk.LocalConfig[string, int]{
		Bind: func(ctx sdk.BindContext, in int) (string, error) {
			if data, ok := ctx.HandedOff(); ok {
				return string(data) + " was handed off", nil
			}
			return strconv.Itoa(in), nil
		},
		Handoff: func(_ context.Context, value string) ([]byte, error) { return []byte(value), nil },
	})
	keep := sdk.AddStep(w, "keep", func(ctx sdk.Context, _ int) (string, error) { return state.Get(ctx) })
	sdk.AddStep(w, "use", func(ctx sdk.Context, _ int) (string, error) {
		if ctx.Attempt() == 1 {
			return "", errors.New("the first attempt fails")
		}
		return state.Get(ctx)
	}, sdk.StepConfig{Parents: sdk.Steps(keep), Retries: 1, Backoff: retryAfter})
	return w
}

// family is a parent that waits for its sticky child, which is at work.
func (y *story) family() (parent, child sdk.AnyWorkflow) {
	c := sdk.NewWorkflow[int]("child", lasting(sdk.Hard))
	sdk.AddStep(c, "a", func(ctx sdk.Context, _ int) (string, error) { return "child of " + ctx.WorkerID(), y.wait(ctx) })
	p := sdk.NewWorkflow[int]("parent", lasting(sdk.Soft))
	sdk.AddStep(p, "spawn", func(ctx sdk.Context, in int) (said string, err error) {
		run, err := c.Spawn(ctx, in, &sdk.SpawnOptions{Sticky: true, Key: "only"})
		if err != nil {
			return "", err
		}
		return said, run.Result(ctx, &said)
	})
	return p, c
}

// live is at work when the server ends.
func (y *story) live() sdk.AnyWorkflow {
	w := sdk.NewWorkflow[int]("live", lasting(sdk.None))
	sdk.AddStep(w, "a", func(ctx sdk.Context, _ int) (string, error) { return "lived", y.wait(ctx) })
	return w
}

// queued waits for a worker with a label that none has.
func (y *story) queued() sdk.AnyWorkflow {
	c := lasting(sdk.Soft)
	c.Labels = []sdk.Label{sdk.Require("zone").Equal("late")}
	w := sdk.NewWorkflow[int]("queued", c)
	sdk.AddStep(w, "a", func(sdk.Context, int) (string, error) { return "placed", nil })
	return w
}

// ---- the stage --------------------------------------------------------------------

// stage is a server and its workers on a store.
type stage struct {
	*testing.T
	story   *story
	server  *node.Server
	client  *sdk.Client
	workers map[string]func() // that kill them
	fallen  bool
}

func raise(t *testing.T, store journal.Store, y *story) *stage {
	s := &stage{T: t, story: y, workers: map[string]func(){}}
	c := config(store)
	c.Retention = -1
	var err error
	s.server, err = node.Start(t.Context(), c)
	must(t, err)
	t.Cleanup(s.fall)
	s.client, err = sdk.NewClient(sdk.ClientConfig{Address: s.server.APIAddress()})
	must(t, err)
	return s
}

// fall ends the server, then the workers: what is live stays so in the journal.
func (s *stage) fall() {
	if s.fallen {
		return
	}
	s.fallen = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.server.Stop(ctx); err != nil {
		s.Error("stop:", err)
	}
	for _, id := range sorted(s.workers) {
		s.workers[id]()
	}
}

// work starts a worker and returns once it is up.
func (s *stage) work(id string, labels map[string]string, workflows ...sdk.AnyWorkflow) {
	s.Helper()
	w, err := worker.New(worker.Config{ID: id, Join: []string{s.server.GossipAddress()}, Slots: 20, Labels: labels,
		Logger: slog.New(slog.DiscardHandler)}, workflows...)
	must(s.T, err)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	s.workers[id] = func() { w.Kill(); <-ended }
	s.until("worker "+id+" is up", func() bool {
		workers, err := s.client.ListWorkers(s.Context())
		must(s.T, err)
		for _, one := range workers {
			if one.GetIncarnation() == w.Incarnation() && one.GetReported() {
				return true
			}
		}
		return false
	})
}

// workersAfter are those that go on with the unfinished runs.
func (s *stage) workersAfter() {
	y := s.story
	parent, child := y.family()
	s.work("w1", map[string]string{"zone": "late"}, y.backoff(), parent, child, y.live(), y.queued())
	s.work("h1", nil, y.hard())
	s.work("d2", nil, y.handed())
}

func (s *stage) until(what string, is func() bool) {
	s.Helper()
	for begin := time.Now(); !is(); <-time.After(20 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			s.Fatal("not within 30 s: " + what)
		}
	}
}

func (s *stage) start(workflow string, input int) *sdk.Run {
	s.Helper()
	run, err := s.client.Start(s.Context(), workflow, input, &sdk.StartOptions{
		IdempotencyKey: "the only one", Metadata: map[string]string{"told-by": "the story"}})
	must(s.T, err)
	return run
}

func (s *stage) untilRun(run *sdk.Run, what string, is func(*api.GetRunResponse) bool) {
	s.Helper()
	s.until(what, func() bool {
		view, err := run.Get(s.Context())
		must(s.T, err)
		return is(view)
	})
}

func (s *stage) untilEnded(runs ...*sdk.Run) {
	s.Helper()
	for _, run := range runs {
		_, err := run.Ended(s.Context())
		must(s.T, err)
	}
}

func (s *stage) untilWaits(workflow string) {
	s.Helper()
	select {
	case got := <-s.story.waits:
		if got != workflow {
			s.Fatalf("a step of %s waits, not of %s", got, workflow)
		}
	case <-time.After(30 * time.Second):
		s.Fatal("no step waits of " + workflow)
	}
}

// tell makes the runs of a journal.
func (s *stage) tell() {
	y := s.story
	parent, child := y.family()
	s.work("w1", nil, y.chain(), y.fails(), y.canceled(), y.replayed(), y.backoff(), parent, child, y.live(), y.queued())
	s.work("h1", nil, y.hard())
	s.work("d1", nil, y.handed())
	s.work("r1", nil, y.rebuilt())

	again := s.start("replayed", 1)
	s.untilEnded(again, s.start("chain", 3), s.start("fails", 1))
	must(s.T, again.Replay(s.Context()))
	s.untilEnded(again)

	canceled := s.start("canceled", 1)
	s.untilWaits("canceled")
	must(s.T, canceled.Cancel(s.Context(), "enough"))
	s.untilEnded(canceled)

	rebuilt := s.start("rebuilt", 1)
	s.untilWaits("rebuilt")
	s.workers["r1"]()
	delete(s.workers, "r1")
	s.work("r2", nil, y.rebuilt())
	s.untilEnded(rebuilt)

	s.start("live", 1)
	s.untilWaits("live")
	s.start("parent", 1)
	s.untilWaits("child")
	queued := s.start("queued", 1)
	s.untilRun(queued, "it waits for a label", func(v *api.GetRunResponse) bool { return v.GetRun().GetWaitingFor() != "" })

	hard := s.start("hard", 1)
	s.untilWaits("hard")
	s.workers["h1"]()
	delete(s.workers, "h1")
	s.untilRun(hard, "it waits for its worker", func(v *api.GetRunResponse) bool { return v.GetRun().GetDormant() })

	handed, backoff := s.start("handed", 41), s.start("backoff", 1)
	s.untilRun(handed, "it is in back-off", func(v *api.GetRunResponse) bool {
		return v.GetSteps()[1].GetPhase() == api.PhaseBackoff
	})
	_, err := s.client.DrainWorker(s.Context(), "d1")
	must(s.T, err)
	s.untilRun(handed, "it has left its worker", func(v *api.GetRunResponse) bool {
		return v.GetBindings()[0].GetHandOff() != nil && v.GetBindings()[0].GetLostAt() != nil
	})
	s.untilRun(backoff, "it waits for its second attempt", func(v *api.GetRunResponse) bool { return v.GetRun().GetDormant() })
}
