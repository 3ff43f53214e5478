package sdktest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// chatter counts messages that it receives, and goes on as new after each few.
type chatter struct {
	*boxes
	w     *sdk.Workflow[talk]
	chat  *sdk.Step[talk, talk]
	ended atomic.Int32
}

// talk is what a link hands to the next one.
type talk struct {
	Got   []int `json:"got"`
	Until int   `json:"until"`
	// Box is the number of the local state that the first link has built.
	Box int32 `json:"box"`
}

func newChatter(perLink int) *chatter {
	c := &chatter{boxes: newBoxes()}
	c.w = sdk.NewWorkflow[talk]("chatter", sdk.WorkflowConfig{Sticky: sdk.Soft})
	state := sdk.NewLocal(c.w, sdk.LocalConfig[*box, talk]{Release: c.release, Bind: func(ctx sdk.BindContext, _ talk) (*box, error) { return c.bind(ctx, 0) }})
	c.chat = sdk.AddStep(c.w, "chat", func(ctx sdk.Context, so talk) (talk, error) {
		at, err := look(ctx, state)
		if err != nil {
			return so, err
		}
		if so.Box == 0 {
			so.Box = at.Box
		}
		if so.Box != at.Box {
			return so, fmt.Errorf("box %d, built was %d", at.Box, so.Box)
		}
		for range perLink {
			n, err := sdk.Receive[int](ctx, "say")
			if err != nil {
				return so, err
			}
			if so.Got = append(so.Got, n); len(so.Got) == so.Until {
				return so, nil
			}
		}
		return so, sdk.ContinueAs(ctx, c.w, so)
	})
	sdk.OnEnd(c.w, "end", func(sdk.Context, talk, sdk.End) error { c.ended.Add(1); return nil })
	return c
}

// TestARunGoesOnAsNewWithAllItsMessages: in order, however many links there are and while
// messages come; with its state, its key and its id; and it ends once. Each change-over
// succeeds at once: a link is one attempt. What is kept of it all is bounded.
func TestARunGoesOnAsNewWithAllItsMessages(t *testing.T) {
	const links, perLink = 100, 100
	c := newChatter(perLink)
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, c.w)
	start := func() *sdk.Run {
		run, err := c.w.Start(t.Context(), e.Client(), talk{Until: links * perLink}, &sdk.StartOptions{IdempotencyKey: "k"})
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	run := start()
	var want []int
	for n := range links * perLink {
		want = append(want, n)
		if err := run.Signal(t.Context(), "say", n, &sdk.SignalOptions{ID: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
		if n%700 == 0 { // It may be sent again, over a change-over, too.
			if err := run.Signal(t.Context(), "say", n, &sdk.SignalOptions{ID: fmt.Sprint(n)}); err != nil && !errors.Is(err, sdk.ErrRunFinished) {
				t.Fatal(err)
			}
		}
	}
	if again := start(); again.ID() != run.ID() {
		t.Errorf("the key gives run %s, it was %s", again.ID(), run.ID())
	}
	got, err := c.chat.Result(t.Context(), run)
	if err != nil || !slices.Equal(got.Got, want) || got.Box != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	view, err := run.Get(t.Context())
	if err != nil || view.GetRun().GetContinued() != links-1 || len(view.GetLinks()) != links || len(view.GetBindings()) != 1 {
		t.Errorf("%v, %v, %v", view.GetRun(), view.GetLinks(), err)
	}
	if n := view.GetSteps()[0].GetAttempts(); n != links {
		t.Errorf("%d attempts of %d links", n, links)
	}
	// Those of eleven links, and the end step.
	attempts, err := e.Client().Service().ListAttempts(t.Context(), connect.NewRequest(&api.ListAttemptsRequest{RunId: run.ID()}))
	if err != nil || len(attempts.Msg.GetAttempts()) != 12 || attempts.Msg.GetAttempts()[10].GetNumber() != links {
		t.Errorf("%d attempts are told of, %v", len(attempts.Msg.GetAttempts()), err)
	}
	entries := 0
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if entries++; entries == 1 && entry.GetEntry() != view.GetLinks()[links-11].GetEntry() {
			t.Errorf("the history begins with entry %d, the links are %v", entry.GetEntry(), view.GetLinks())
		}
	}
	if last := view.GetLinks()[links-1]; last.GetNumber() != links || last.GetStep() != "chat" || last.GetBeganAt() == nil {
		t.Errorf("the last link is %v", last)
	}
	if n := c.ended.Load(); n != 1 {
		t.Errorf("%d end steps", n)
	}
	if released := c.next(t); released != "1 run-ended" || c.built.Load() != 1 {
		t.Errorf("%s, %d were built", released, c.built.Load())
	}
}

// TestContinueAsRefuses what does not fit, in a step that cannot have its run go on.
func TestContinueAsRefuses(t *testing.T) {
	w := sdk.NewWorkflow[int]("picky", sdk.WorkflowConfig{InputSchema: `{"type":"integer","maximum":3}`})
	other := sdk.NewWorkflow[int]("other")
	sdk.AddStep(other, "s", func(sdk.Context, int) (int, error) { return 0, nil })
	ends := make(chan error, 1)
	sdk.AddStep(w, "s", func(ctx sdk.Context, n int) (int, error) {
		wrong := map[string]error{"another workflow": sdk.ErrInvalidArgument, "too large": sdk.ErrInvalidInput}
		for what, err := range map[string]error{"another workflow": sdk.ContinueAs(ctx, other, 1), "too large": sdk.ContinueAs(ctx, w, 4)} {
			if !errors.Is(err, wrong[what]) {
				return 0, fmt.Errorf("%s: %v", what, err)
			}
		}
		if n == 3 {
			return n, nil
		}
		if err := sdk.ContinueAs(ctx, w, n+1); err != nil {
			return 0, err
		}
		if err := sdk.ContinueAs(ctx, w, n+1); !errors.Is(err, sdk.ErrInvalidArgument) {
			return 0, fmt.Errorf("twice: %v", err)
		}
		return n, nil
	})
	sdk.OnEnd(w, "end", func(ctx sdk.Context, _ int, _ sdk.End) error { ends <- sdk.ContinueAs(ctx, w, 1); return nil })
	e := sdktest.Start(t, sdktest.Config{}, w, other)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var last int
	if err := run.Result(t.Context(), &last); err != nil || last != 3 {
		t.Errorf("%d, %v", last, err)
	}
	if err := <-ends; !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("in an end step: %v", err)
	}
}

// TestChildrenFollowTheChain of their parent: a change-over is no end, they end with its
// last link; and one that goes on as new itself is the same child all the time, whether it
// is waited for or canceled.
func TestChildrenFollowTheChain(t *testing.T) {
	const links = 15 // More than are kept: the spawn is cut from the history.
	patientChild, letGo := patient("patient")
	defer close(letGo)
	counting := sdk.NewWorkflow[int]("counting")
	sdk.AddStep(counting, "first", func(_ sdk.Context, n int) (int, error) { return n, nil })
	last := sdk.AddStep(counting, "last", func(ctx sdk.Context, n int) (int, error) {
		if n == links {
			return n, nil
		}
		return -1, sdk.ContinueAs(ctx, counting, n+1)
	})
	endless := sdk.NewWorkflow[int]("endless")
	sdk.AddStep(endless, "s", func(ctx sdk.Context, n int) (int, error) {
		if n == links {
			return 0, sdk.Sleep(ctx, time.Hour)
		}
		return 0, sdk.ContinueAs(ctx, endless, n+1)
	})
	type state struct {
		Link     int
		Children []string
	}
	parent := sdk.NewWorkflow[state]("parent")
	sdk.AddStep(parent, "s", func(ctx sdk.Context, s state) (state, error) {
		if s.Link++; s.Link == 1 {
			a, err := patientChild.Spawn(ctx, "ends with the run", &sdk.SpawnOptions{Key: "k"})
			if err != nil {
				return s, err
			}
			b, err := endless.Spawn(ctx, 1)
			if err != nil {
				return s, err
			}
			s.Children = []string{a.ID(), b.ID()}
		}
		// Awaited, and no concern of the links that follow. Keys begin anew.
		c, err := counting.Spawn(ctx, 1, &sdk.SpawnOptions{Key: "k2"})
		if err != nil {
			return s, err
		}
		if n, err := last.Result(ctx, c); err != nil || n != links {
			return s, fmt.Errorf("a child that goes on as new: %d, %w", n, err)
		}
		if s.Link == links {
			return s, nil
		}
		return s, sdk.ContinueAs(ctx, parent, s)
	})
	e := sdktest.Start(t, sdktest.Config{}, parent, patientChild, counting, endless)
	run := startOf(t, e, parent, state{})
	var end state
	if err := run.Result(t.Context(), &end); err != nil || end.Link != links {
		t.Fatalf("%+v, %v", end, err)
	}
	for _, id := range end.Children {
		child := e.Client().Run(id)
		if err := child.Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
			t.Errorf("a child of the first link: %v", err)
		}
		view, err := child.Get(t.Context())
		if err != nil || view.GetRun().GetFinishedAt().AsTime().Before(lastLink(t, run)) {
			t.Errorf("a child of the first link ended at %v, %v", view.GetRun().GetFinishedAt(), err)
		}
	}
	view, err := run.Get(t.Context())
	if err != nil || len(view.GetChildren()) != 3 {
		t.Errorf("%d children are known of the last link, %v", len(view.GetChildren()), err)
	}
}

// lastLink is when the last link of a run began.
func lastLink(t *testing.T, run *sdk.Run) time.Time {
	t.Helper()
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return view.GetLinks()[len(view.GetLinks())-1].GetBeganAt().AsTime()
}

// TestWhatALinkHasStreamedIsCutWithIt: so a run may go on for as long as it likes, also by
// another server. Readers are told of what is missing. The newest section of each stream
// stays; the limits hold for all that is there.
func TestWhatALinkHasStreamedIsCutWithIt(t *testing.T) {
	const changeOvers, names, kept = 15, 6, 11
	const more = messages.StreamsMax - names*(changeOvers+1) - 1
	// The pieces of the links that stay leave less than a kilobyte.
	piece := strings.Repeat("x", messages.StreamBytesMax/kept/2-names)
	w := sdk.NewWorkflow[int]("scribe", sdk.WorkflowConfig{Sticky: sdk.Soft})
	began, goOn := make(chan bool), make(chan bool)
	write := func(ctx sdk.Context, name, text string) error {
		if _, err := ctx.Stream(name).WriteString(text); err != nil {
			return err
		}
		return ctx.Stream(name).Flush()
	}
	// exceeds writes what is beyond a limit.
	exceeds := func(ctx sdk.Context, name, text, limit string) error {
		if err := write(ctx, name, text); !errors.Is(err, sdk.ErrLimitExceeded) || !strings.Contains(err.Error(), limit) {
			return fmt.Errorf("stream %s beyond %s: %v", name, limit, err)
		}
		return nil
	}
	sdk.AddStep(w, "write", func(ctx sdk.Context, n int) (int, error) {
		if n == changeOvers-1 {
			close(began)
			<-goOn
		}
		for k := range names {
			if err := write(ctx, fmt.Sprintf("s%d-%d", n, k), "x"); err != nil {
				return n, err
			}
		}
		for range 2 {
			if err := write(ctx, "tokens", piece); err != nil {
				return n, err
			}
		}
		if n < changeOvers {
			return n, sdk.ContinueAs(ctx, w, n+1)
		}
		for k := range more {
			if err := write(ctx, fmt.Sprintf("more%d", k), "x"); err != nil {
				return n, err
			}
		}
		return n, errors.Join(exceeds(ctx, "another", "x", "StreamsMax"), exceeds(ctx, "tokens", piece[:1000], "StreamBytesMax"))
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 0)
	<-began
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	const oldest = changeOvers + 2 - kept
	for from, cut := range map[sdk.StreamPlace]bool{{}: true, {Section: 1, Number: 1}: true, {Section: oldest - 1, Number: 2}: true, {Section: oldest, Number: 1}: false} {
		for _, follow := range []bool{false, true} {
			wantKept(t, run, &sdk.ReadStreamOptions{From: from, Follow: follow}, cut, oldest, changeOvers+1, piece)
		}
	}
	for p, err := range run.ReadStream(t.Context(), "s0-0") {
		if err != nil || p.Cut || p.Section != 1 || string(p.Data) != "x" {
			t.Errorf("a stream that the first link alone wrote has %+v, %v", p, err)
		}
	}
	view, err := run.Get(t.Context())
	if err != nil || view.GetRun().GetContinued() != changeOvers || len(view.GetStreams()) != messages.StreamsMax {
		t.Fatalf("%v, %d streams, %v", view.GetRun(), len(view.GetStreams()), err)
	}
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil || entry.GetEntry() == 1 {
			t.Errorf("nothing was cut, or %v", err)
		}
		break
	}
}

// wantKept reads the pieces of sections that each have two, behind one that says that others
// were cut, if they were.
func wantKept(t *testing.T, run *sdk.Run, options *sdk.ReadStreamOptions, cut bool, oldest, newest int, piece string) {
	t.Helper()
	next := sdk.StreamPlace{Section: oldest, Number: 1}
	for p, err := range run.ReadStream(t.Context(), "tokens", options) {
		switch {
		case err != nil:
			t.Fatal(err)
		case p.Cut && (!cut || p.Section != oldest || p.Number != 1 || p.Data != nil):
			t.Errorf("%+v: %s is said to be the first that is there", options, p.StreamPlace)
		case p.Cut:
			cut = false
		case cut || string(p.Data) != piece || p.StreamPlace != next || p.Attempt != p.Section:
			t.Fatalf("%+v: %s of attempt %d, %d bytes, next is %s", options, p.StreamPlace, p.Attempt, len(p.Data), next)
		case next.Number == 1:
			next.Number = 2
		default:
			next = sdk.StreamPlace{Section: next.Section + 1, Number: 1}
		}
	}
	if cut || next.Section != newest+1 {
		t.Errorf("%+v: read up to %s of %d, what is missing was not said: %t", options, next, newest, cut)
	}
}
