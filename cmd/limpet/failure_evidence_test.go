package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// What tests of failures conclude from: the calls that workers report, the
// ledger that their steps write, and the history that the engine keeps.

// storyTime is how long the story of a run that goes on is followed.
const storyTime = time.Second

// start starts a run.
func (r *rig) start(workflow string, p play) *sdk.Run {
	r.t.Helper()
	run, err := r.client.Start(r.ctx, workflow, p, &sdk.StartOptions{IdempotencyKey: messages.NewRunID()})
	if err != nil {
		r.t.Fatalf("start of %s: %v", workflow, err)
	}
	return run
}

// performance is a step function that was called.
type performance struct {
	note
	r *rig
}

// began waits for an attempt's function to be called.
func (r *rig) began(run string, step string, attempt int) *performance {
	r.t.Helper()
	return r.beganAs(fmt.Sprintf("%s#%d of run %s to begin", step, attempt, run), func(n note) bool {
		return n.Run == run && n.Step == step && n.Attempt == attempt
	})
}

func (r *rig) beganAs(what string, match func(note) bool) *performance {
	r.t.Helper()
	n, err := r.notes.await(r.ctx, func(n note) bool { return n.Kind == "began" && match(n) })
	if err != nil {
		r.t.Fatalf("waiting for %s: %v%s", what, err, r.unfinished())
	}
	return &performance{n, r}
}

// unfinished lists the runs that have not ended, for a failed test.
func (r *rig) unfinished() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 5*storyTime)
	defer cancel()
	list, err := r.client.ListRuns(ctx, &api.ListRunsRequest{Statuses: []sdk.RunStatus{sdk.Running}, PageSize: 20})
	if err != nil {
		return "\nruns: " + err.Error()
	}
	for _, run := range list.GetRuns() {
		got, err := r.client.Run(run.GetRunId()).Get(ctx)
		fmt.Fprintf(&b, "\n%v %v", got, err)
	}
	return b.String()
}

// release lets a held step go on. The process may be gone.
func (c *performance) release() { _ = c.answers.Encode(cue{c.Call}) }

// follows waits for what becomes of a call: canceled or ended.
func (c *performance) follows(kind string) note {
	c.r.t.Helper()
	n, err := c.r.notes.await(c.r.ctx, func(n note) bool {
		return n.Kind == kind && n.Call == c.Call && n.Incarnation == c.Incarnation
	})
	if err != nil {
		c.r.t.Fatalf("waiting for %s#%d on %s to be %s: %v", c.Step, c.Attempt, c.Worker, kind, err)
	}
	return n
}

// was says whether that became of the call so far.
func (c *performance) was(kind string) bool {
	_, ok, _ := c.r.notes.find(func(n note) bool { return n.Kind == kind && n.Call == c.Call && n.Incarnation == c.Incarnation })
	return ok
}

// happens waits for an event of a run's history.
func (r *rig) happens(run *sdk.Run, what string, match func(*messages.Event) bool) time.Time {
	r.t.Helper()
	for entry, err := range run.Watch(r.ctx, 0) {
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", what, err)
		}
		if slices.ContainsFunc(entry.GetEvents(), match) {
			return entry.GetAt().AsTime()
		}
	}
	r.t.Fatalf("run %s ended without %s%s", run.ID(), what, r.story(run))
	return time.Time{}
}

// history of a run that has ended, or so far of another one.
func (r *rig) history(run *sdk.Run) []*messages.Event {
	var all []*messages.Event
	for entry, err := range run.Watch(r.ctx, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, entry.GetEvents()...)
	}
	return all
}

// ends waits for a run's end, which is to be a success.
func (r *rig) ends(run *sdk.Run) *api.GetRunResponse {
	r.t.Helper()
	got, err := run.Ended(r.ctx)
	if err != nil {
		r.t.Fatalf("run %s: %v%s", run.ID(), err, r.story(run))
	}
	if got.GetRun().GetStatus() != sdk.Succeeded {
		r.t.Fatalf("run %s: %v %v%s", run.ID(), got.GetRun().GetStatus(), got.GetRun().GetFailure(), r.story(run))
	}
	return got
}

// story is the history and the ledger of a run, for a failed test.
func (r *rig) story(run *sdk.Run) string {
	var b strings.Builder
	b.WriteString("\nhistory:\n")
	ctx, cancel := context.WithTimeout(context.Background(), storyTime)
	defer cancel()
	got, err := run.Get(ctx)
	if err != nil {
		return err.Error()
	}
	for entry, err := range run.Watch(ctx, 0) {
		if err != nil {
			break
		}
		for _, e := range entry.GetEvents() {
			data, _ := protojson.Marshal(e)
			fmt.Fprintf(&b, "  %s %d %s\n", entry.GetAt().AsTime().Format("15:04:05.000"), entry.GetEntry(), data)
		}
	}
	fmt.Fprintf(&b, "now: %v\nledger:\n", got.GetRun())
	for _, e := range r.executions(run.ID()) {
		fmt.Fprintf(&b, "  %s %+v\n", e.Begin.Format("15:04:05.000"), e)
	}
	return b.String()
}

// executions of a run by the ledger; of all runs for an empty id.
func (r *rig) executions(run string) []ledger.Execution {
	r.t.Helper()
	all, err := ledger.Read(filepath.Join(r.dir, "ledger", "*.ledger"))
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e ledger.Execution) bool { return run != "" && e.Run != run })
}

// ran compares a run's executions by the ledger, in the order of their
// beginning, with "step#attempt worker epoch"; an attempt of ? may be any.
func (r *rig) ran(run *sdk.Run, want ...string) {
	r.t.Helper()
	var got []string
	for i, e := range r.executions(run.ID()) {
		attempt := fmt.Sprint(e.Attempt)
		if i < len(want) && strings.Contains(want[i], "#?") {
			attempt = "?"
		}
		got = append(got, fmt.Sprintf("%s#%s %s %d", e.Step, attempt, e.Worker, e.Epoch))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("run %s ran\n  %s\nwant\n  %s%s", run.ID(), strings.Join(got, "\n  "), strings.Join(want, "\n  "), r.story(run))
	}
}

// bound compares the bindings that a run had with "epoch worker reason".
func (r *rig) bound(run *sdk.Run, want ...string) {
	r.t.Helper()
	res, err := run.Get(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, b := range res.GetBindings() {
		got = append(got, fmt.Sprintf("%d %s %s", b.GetEpoch(), b.GetWorkerId(), b.GetReason().Words()))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("run %s was bound to %q, want %q%s", run.ID(), got, want, r.story(run))
	}
}

// unharmed: the run lost neither an attempt nor its worker for good, by its
// history.
func (r *rig) unharmed(run *sdk.Run) {
	r.t.Helper()
	for _, e := range r.history(run) {
		if e.GetAttemptLost() != nil || e.GetBound().GetEpoch() > 1 {
			r.t.Errorf("run %s: %v%s", run.ID(), e, r.story(run))
			return
		}
	}
}
