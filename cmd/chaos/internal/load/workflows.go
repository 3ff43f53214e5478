package load

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/sdk"
)

// process is a worker process: its ledger, and the runs whose local state it
// holds.
type process struct {
	ledger *ledger.Writer
	// held has the ids of runs that a step of this process has worked for.
	held sync.Map
	// failed has the ids of runs whose local state this process has begun to
	// build.
	failed sync.Map
	// shared is what workflows with shared local state share.
	shared *sdk.Local[*localValue]
}

// placedWithin is the schedule timeout of what any worker may have: there always is
// one, and all servers may be away for longer.
const placedWithin = 15 * time.Second

// workflows makes all workflows of the load, as this process serves them.
func (p *process) workflows() []sdk.AnyWorkflow {
	made := map[string]*sdk.Workflow[Plan]{}
	lasts := map[string]*sdk.Step[Plan, verdict.Output]{}
	var all []sdk.AnyWorkflow
	for _, name := range shapeNames {
		s := shapes[name]
		config := sdk.WorkflowConfig{Sticky: s.sticky, ScheduleTimeout: sdk.Never, KeepFor: s.keepFor}
		if s.sticky == sdk.None {
			config.ScheduleTimeout = placedWithin
		}
		if s.onEvent != "" {
			config.OnEvents = []string{s.onEvent}
		}
		w := sdk.NewWorkflow[Plan](name, config)
		local := p.locals(w, s)
		steps := map[string]*sdk.Step[Plan, verdict.Output]{}
		for i, st := range s.steps {
			run := &role{process: p, shape: s, step: st, index: i, local: local, made: made, lasts: lasts}
			var parents []sdk.AnyStep
			for _, parent := range st.parents {
				run.parents = append(run.parents, steps[parent])
				parents = append(parents, steps[parent])
			}
			config := sdk.StepConfig{Parents: parents, Retries: retriesMost, Backoff: retryAfter, BackoffMax: retryAfterMost, LostAttemptsMax: lossesMost, BuildsState: st.builds, NeedsState: st.needs}
			if s.private {
				config.Retries = stateRetries
			}
			if st.overruns {
				config.Retries, config.ExecutionTimeout = overrunRetries, overrunTimeout
			}
			steps[st.name] = sdk.AddStep(w, st.name, run.perform, config)
			lasts[name] = steps[st.name]
		}
		if s.ends {
			sdk.OnEnd(w, endStep, (&ender{process: p, shape: s, local: local}).perform, sdk.OnEndConfig{ScheduleTimeout: sdk.Never, LostAttemptsMax: lossesMost})
		}
		if s.sticky != sdk.None {
			addQuery(w, s, local)
		}
		made[name] = w
		all = append(all, w)
	}
	return all
}

// role is a step of a workflow as a process performs it.
type role struct {
	process *process
	shape   *shape
	step    step
	index   int
	parents []*sdk.Step[Plan, verdict.Output]
	// local state of the workflow; nil for none.
	local *sdk.Local[*localValue]
	// made and lasts are all workflows and their last steps, for spawns.
	made  map[string]*sdk.Workflow[Plan]
	lasts map[string]*sdk.Step[Plan, verdict.Output]
}

// perform is the step function: it records its beginning before anything else,
// and its end after everything else.
func (r *role) perform(ctx sdk.Context, plan Plan) (verdict.Output, error) {
	l := r.process.ledger
	n := l.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
	if ctx.Binding().Rebuild {
		l.Rebuild(n)
	}
	out := verdict.Output{Execution: l.ID(n), Untold: r.untold(ctx)}
	err := r.tellsProgress(ctx, n, func() error {
		return r.writesStream(ctx, n, &plan, func() error { return r.act(ctx, n, plan, &out) })
	})
	if ctx.Err() != nil {
		l.Canceled(n, context.Cause(ctx).Error())
	}
	if err != nil {
		l.End(n, true, err.Error())
		return out, leave(err)
	}
	note, err := json.Marshal(out)
	l.End(n, err != nil, string(note))
	return out, err
}

// untold says that this process has no state of a sticky run that should be
// here, and notes that it has from now on.
func (r *role) untold(ctx sdk.Context) bool {
	if r.shape.sticky == sdk.None {
		return false
	}
	_, held := r.process.held.LoadOrStore(ctx.RunID(), true)
	return !held && !ctx.Binding().StateNew
}

// act does what the plan says.
func (r *role) act(ctx sdk.Context, n int64, plan Plan, out *verdict.Output) error {
	inputs, err := r.inputs(ctx, out)
	if err != nil {
		return err
	}
	onPurpose := ctx.Attempt() <= of(plan.Fails, r.index) && !r.step.overruns
	if onPurpose && plan.Number%2 == 0 {
		// It has not looked at its local state.
		return plan.onPurpose(ctx.Attempt(), "attempt %d of %d, at once", ctx.Attempt(), of(plan.Fails, r.index))
	}
	var local *localValue
	if r.local != nil {
		if local, err = r.local.Get(ctx); err != nil {
			return err
		}
		local.use(n)
	}
	if err := r.work(ctx, n, r.duration(ctx, plan)); err != nil {
		return err
	}
	if local != nil {
		local.use(n)
	}
	if r.step.talks {
		said, err := r.talk(ctx, n, plan)
		if err != nil {
			return err
		}
		// What is to come in later links is told to these.
		inputs = append(append(inputs, said...), plan.said()[len(said):]...)
	}
	if err := r.failure(ctx, plan, onPurpose); err != nil {
		return err
	}
	if r.step.spawns {
		got, err := r.delegate(ctx, plan, out)
		if err != nil {
			return err
		}
		inputs = append(inputs, got.Value)
	}
	out.Value = value(plan, r.shape.name, r.step.name, inputs...)
	return nil
}

// inputs are the outputs of the step's parents; which executions they are of
// goes to out.
func (r *role) inputs(ctx sdk.Context, out *verdict.Output) ([]string, error) {
	var inputs []string
	for _, parent := range r.parents {
		in, err := parent.Output(ctx)
		if err != nil {
			return nil, fmt.Errorf("the output of %s: %w", parent.Name(), err)
		}
		inputs = append(inputs, in.Value)
		out.Inputs = append(out.Inputs, in.Execution)
	}
	return inputs, nil
}

// duration of the step's work. The first attempt of a step that overruns takes
// too long, the others do not.
func (r *role) duration(ctx sdk.Context, plan Plan) time.Duration {
	d := time.Duration(of(plan.SleepMs, r.index)) * time.Millisecond
	switch {
	case !r.step.overruns:
		return d
	case ctx.Attempt() == 1:
		return 10 * overrunTimeout
	}
	return min(d, overrunTimeout/5)
}

// failure is the error that the plan wants of this attempt after its work, if
// any.
func (r *role) failure(ctx sdk.Context, plan Plan, onPurpose bool) error {
	switch {
	case plan.StateLost == r.index+1 && ctx.Attempt() == 1:
		r.process.held.Delete(ctx.RunID())
		return fmt.Errorf("%s: %w", verdict.OnPurpose, sdk.ErrStateLost)
	case plan.Fatal == r.index+1:
		return sdk.NonRetryable(fmt.Errorf("%s: for good", verdict.OnPurpose))
	case onPurpose:
		return plan.onPurpose(ctx.Attempt(), "attempt %d of %d", ctx.Attempt(), of(plan.Fails, r.index))
	}
	return nil
}

// tickEvery is how often a step at work says so.
const tickEvery = 20 * time.Millisecond

// work acts for a while, unless the step is to end; then it says why. Between
// the look at the context and the act a process may be frozen, as any that acts
// upon something outside.
func (r *role) work(ctx context.Context, n int64, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := backoff.Sleep(ctx, min(tickEvery, time.Until(end))); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.process.ledger.Tick(n)
	}
	return nil
}

// delegate spawns the child and waits for it.
func (r *role) delegate(ctx sdk.Context, plan Plan, out *verdict.Output) (verdict.Output, error) {
	opts := &sdk.SpawnOptions{Sticky: plan.StickyChild}
	if plan.KeepChild {
		opts.OnParentEnd = sdk.LeaveChild
	}
	c, err := r.made[plan.Child].Spawn(ctx, plan.child(), opts)
	if err != nil {
		return verdict.Output{}, fmt.Errorf("spawn: %w", err)
	}
	out.Children = append(out.Children, c.ID())
	got, err := r.lasts[plan.Child].Result(ctx, c)
	if err != nil {
		err = fmt.Errorf("child %s: %w", c.ID(), err)
	}
	return got, err
}
