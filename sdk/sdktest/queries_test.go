package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// page is local state that steps change and queries look at.
type page struct {
	mu  sync.Mutex
	url string
}

func (p *page) visit(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.url = url
}

func (p *page) where() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url
}

// browsing is a workflow whose step opens a page, then waits for the next address in
// the mailbox until that is empty.
type browsing struct {
	workflow *sdk.Workflow[string]
	browser  *sdk.Local[*page]
	where    *sdk.Query[string, string]
	released atomic.Int32
}

func newBrowsing(config sdk.WorkflowConfig) *browsing {
	b := &browsing{workflow: sdk.NewWorkflow[string]("browse", config)}
	b.browser = sdk.NewLocal(b.workflow, sdk.LocalConfig[*page, string]{Name: "browser",
		Bind:    func(sdk.BindContext, string) (*page, error) { return &page{url: "blank"}, nil },
		Release: func(*page, sdk.Why) error { b.released.Add(1); return nil }})
	sdk.AddStep(b.workflow, "browse", func(ctx sdk.Context, url string) (string, error) {
		for url != "" {
			p, err := b.browser.Get(ctx)
			if err != nil {
				return "", err
			}
			p.visit(url)
			if url, err = sdk.Receive[string](ctx, "go"); err != nil {
				return "", err
			}
		}
		return "closed", nil
	})
	b.where = sdk.AddQuery(b.workflow, "where", func(ctx sdk.QueryContext, prefix string) (string, error) {
		p, err := b.browser.Peek(ctx)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s%s on %s under %d", prefix, p.where(), ctx.WorkerID(), ctx.Epoch()), nil
	})
	return b
}

func startOf[In any](t *testing.T, e *sdktest.Engine, w *sdk.Workflow[In], in In) *sdk.Run {
	t.Helper()
	run, err := w.Start(t.Context(), e.Client(), in)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestQueriesAnswerFromLiveState while the only step of the only slot runs, and leave
// nothing in the history.
func TestQueriesAnswerFromLiveState(t *testing.T) {
	b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Soft})
	e := sdktest.Start(t, one("w1"), b.workflow)
	run := startOf(t, e, b.workflow, "limpet.run")
	untilWaits(t, run)
	before := newestEntry(t, e, run)
	for range 1000 {
		if got, err := b.where.Ask(t.Context(), run, "at "); err != nil || got != "at limpet.run on w1 under 1" {
			t.Fatalf("%q: %v", got, err)
		}
	}
	after := newestEntry(t, e, run)
	signal(t, run, "go", "")
	for entry, err := range run.Watch(t.Context(), before) {
		if err != nil {
			t.Fatal(err)
		}
		// That the step has begun, and that the run waits with nothing in memory.
		for _, ev := range entry.GetEvents() {
			if entry.GetEntry() <= after && ev.GetRunDormant() == nil && ev.GetStepStarted() == nil {
				t.Errorf("entry %d of the time of the queries: %v", entry.GetEntry(), ev)
			}
		}
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.where.Ask(t.Context(), run, ""); !errors.Is(err, sdk.ErrRunFinished) {
		t.Errorf("a run that has ended: %v", err)
	}
	if _, err := b.where.Ask(t.Context(), e.Client().Run("nobody"), ""); !errors.Is(err, sdk.ErrUnknownRun) {
		t.Errorf("a run that is not there: %v", err)
	}
}

// newestEntry is the number of a run's newest entry.
func newestEntry(t *testing.T, e *sdktest.Engine, run *sdk.Run) uint64 {
	t.Helper()
	res, err := e.Client().Service().AskRun(t.Context(), connect.NewRequest(&api.AskRunRequest{RunId: run.ID(), Query: "where", Arg: []byte(`""`)}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.GetEntry()
}

// TestQueriesThatFail, each with its code and as soon as that is known.
func TestQueriesThatFail(t *testing.T) {
	w := sdk.NewWorkflow[int]("fails", sdk.WorkflowConfig{Sticky: sdk.Hard})
	local := sdk.NewLocal(w, sdk.LocalConfig[int, int]{Bind: func(sdk.BindContext, int) (int, error) { return 1, nil }})
	sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (bool, error) { return sdk.Receive[bool](ctx, "end") })
	query := func(name string, fn func(ctx sdk.QueryContext) (any, error)) {
		sdk.AddQuery(w, name, func(ctx sdk.QueryContext, _ any) (any, error) { return fn(ctx) })
	}
	query("peek", func(ctx sdk.QueryContext) (any, error) { return local.Peek(ctx) })
	query("wrapped", func(ctx sdk.QueryContext) (any, error) {
		_, err := local.Peek(ctx)
		return nil, fmt.Errorf("no picture: %w", err)
	})
	query("get", func(ctx sdk.QueryContext) (any, error) { return local.Get(ctx) })
	query("do", func(ctx sdk.QueryContext) (any, error) {
		return sdk.Do(ctx, "x", func(sdk.Context) (int, error) { return 1, nil })
	})
	query("sleep", func(ctx sdk.QueryContext) (any, error) { return nil, sdk.Sleep(ctx, time.Hour) })
	query("fails", func(sdk.QueryContext) (any, error) { return nil, errors.New("no luck") })
	query("others", func(sdk.QueryContext) (any, error) { return nil, sdk.ErrUnknownRun })
	query("panics", func(sdk.QueryContext) (any, error) { panic("oh") })
	query("exits", func(sdk.QueryContext) (any, error) { runtime.Goexit(); return nil, nil })
	query("large", func(sdk.QueryContext) (any, error) { return strings.Repeat("x", messages.PayloadBytesMax), nil })
	query("cannot", func(sdk.QueryContext) (any, error) { return func() {}, nil })
	query("waits", func(ctx sdk.QueryContext) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	sdk.AddQuery(w, "number", func(_ sdk.QueryContext, n int) (int, error) { return n, nil })
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	untilWaits(t, run)
	for name, want := range map[string]struct {
		err  error
		says string
	}{
		"peek": {sdk.ErrStateNotThere, `local "local" of the run is not there at worker "w1"`}, "wrapped": {sdk.ErrStateNotThere, "no picture"},
		"get":   {sdk.ErrInvalidArgument, "it gets local state by Peek"},
		"do":    {sdk.ErrInvalidArgument, `in query "do", which changes nothing`},
		"sleep": {sdk.ErrInvalidArgument, `in query "sleep"`},
		"fails": {sdk.ErrQueryFailed, "no luck"}, "others": {sdk.ErrQueryFailed, ""},
		"panics": {sdk.ErrQueryPanicked, `query "panics" panicked: oh`}, "exits": {sdk.ErrQueryPanicked, "runtime.Goexit"},
		"large": {sdk.ErrPayloadTooLarge, "PayloadBytesMax"}, "cannot": {&sdk.Error{Code: messages.CodeInvalidOutput}, "func()"},
		"number": {sdk.ErrInvalidArgument, `the argument of query "number" is no int`},
		"panic":  {sdk.ErrUnknownQuery, `did you mean "panics"?`},
	} {
		if err := run.Ask(t.Context(), name, "seven", new(any)); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run.Ask(t.Context(), "waits", nil, new(any), &sdk.AskOptions{Timeout: time.Millisecond}); !errors.Is(err, sdk.ErrQueryTimedOut) {
		t.Errorf("a query that takes too long: %v", err)
	}
	if err := run.Ask(t.Context(), "number", 7, new(any), &sdk.AskOptions{Timeout: time.Hour}); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("a timeout of an hour: %v", err)
	}
	if err := run.Ask(t.Context(), "number", 7, new(string)); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("an answer of another type: %v", err)
	}
}

// TestQueriesOfOneRunLeaveRoomForOthers, also if its functions do not return.
func TestQueriesOfOneRunLeaveRoomForOthers(t *testing.T) {
	stuck := make(chan struct{})
	w := sdk.NewWorkflow[int]("stuck", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (bool, error) { return sdk.Receive[bool](ctx, "end") })
	sdk.AddQuery(w, "hangs", func(sdk.QueryContext, any) (int, error) { <-stuck; return 1, nil })
	sdk.AddQuery(w, "answers", func(sdk.QueryContext, any) (int, error) { return 2, nil })
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1")}, w)
	t.Cleanup(func() { close(stuck) }) // before the engine stops
	runs := [2]*sdk.Run{startOf(t, e, w, 1), startOf(t, e, w, 2)}
	for _, run := range runs {
		untilWaits(t, run)
	}
	long, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	codes := make(chan sdk.Code, messages.QueriesOfRunWaitingMax+1)
	for range cap(codes) {
		asking.Go(func() {
			codes <- sdk.CodeOf(runs[0].Ask(long, "hangs", nil, new(int), &sdk.AskOptions{Timeout: time.Minute}))
		})
	}
	if code := <-codes; code != messages.CodeLimitExceeded {
		t.Errorf("one too many: %s", code)
	}
	if err := runs[0].Ask(t.Context(), "answers", nil, new(int)); !errors.Is(err, sdk.ErrLimitExceeded) || !strings.Contains(err.Error(), "QueriesOfRunWaitingMax") {
		t.Errorf("its run: %v", err)
	}
	var got int
	if err := runs[1].Ask(t.Context(), "answers", nil, &got); err != nil || got != 2 {
		t.Errorf("another run: %d, %v", got, err)
	}
	cancel()
	asking.Wait()
}

// TestQueriesOfARunWithoutItsState say which of the ways it is.
func TestQueriesOfARunWithoutItsState(t *testing.T) {
	t.Run("not bound yet", func(t *testing.T) {
		b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Soft, Labels: []sdk.Label{sdk.Require("gpu").Equal("yes")}})
		e := sdktest.Start(t, one("w1"), b.workflow)
		if _, err := b.where.Ask(t.Context(), startOf(t, e, b.workflow, "a"), ""); !errors.Is(err, sdk.ErrNotBound) {
			t.Errorf("%v", err)
		}
	})
	t.Run("suspended", func(t *testing.T) {
		b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Soft, KeepFor: sdk.NotAtAll})
		e := sdktest.Start(t, one("w1"), b.workflow)
		run := startOf(t, e, b.workflow, "a")
		untilReleased(t, b)
		if _, err := b.where.Ask(t.Context(), run, ""); !errors.Is(err, sdk.ErrStateNotThere) {
			t.Errorf("%v", err)
		}
	})
	t.Run("moved", func(t *testing.T) {
		b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Soft})
		e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, b.workflow)
		run := startOf(t, e, b.workflow, "a")
		untilWaits(t, run)
		first := boundTo(t, run)
		if err := e.KillWorker(first); err != nil {
			t.Fatal(err)
		}
		// With a code until it is bound anew, or with the state that is built there.
		for {
			began := time.Now()
			got, err := b.where.Ask(t.Context(), run, "")
			if err == nil && strings.HasPrefix(got, "a on ") && !strings.Contains(got, first) {
				break
			}
			if code := sdk.CodeOf(err); code != messages.CodeNotBound && code != messages.CodeWorkerAway && code != messages.CodeStateNotThere {
				t.Fatalf("%q: %v after %v", got, err, time.Since(began))
			}
		}
	})
	t.Run("away", func(t *testing.T) {
		b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Hard})
		e := sdktest.Start(t, one("w1"), b.workflow)
		run := startOf(t, e, b.workflow, "a")
		untilWaits(t, run)
		if err := e.KillWorker("w1"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.where.Ask(t.Context(), run, ""); !errors.Is(err, sdk.ErrWorkerAway) {
			t.Errorf("%v", err)
		}
		if err := e.StartWorker(t.Context(), worker.Config{ID: "w1"}); err != nil {
			t.Fatal(err)
		}
		for {
			if got, err := b.where.Ask(t.Context(), run, ""); err == nil {
				if got != "a on w1 under 2" {
					t.Errorf("%q", got)
				}
				break
			} else if code := sdk.CodeOf(err); code != messages.CodeWorkerAway && code != messages.CodeStateNotThere {
				t.Fatal(err)
			}
		}
	})
}

// TestStateIsNotReleasedUnderAQuery: what it has got stays until it returns.
func TestStateIsNotReleasedUnderAQuery(t *testing.T) {
	b := newBrowsing(sdk.WorkflowConfig{Sticky: sdk.Soft})
	has, goOn := make(chan struct{}), make(chan struct{})
	look := sdk.AddQuery(b.workflow, "look", func(ctx sdk.QueryContext, _ int) (int32, error) {
		if _, err := b.browser.Peek(ctx); err != nil {
			return 0, err
		}
		close(has)
		<-goOn
		return b.released.Load(), nil
	})
	e := sdktest.Start(t, one("w1"), b.workflow)
	run := startOf(t, e, b.workflow, "a")
	untilWaits(t, run)
	answered := make(chan error, 1)
	go func() {
		n, err := look.Ask(t.Context(), run, 0)
		if err == nil && n != 0 {
			err = fmt.Errorf("the state was released %d times under the query", n)
		}
		answered <- err
	}()
	<-has
	signal(t, run, "go", "")
	if err := run.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := run.Ask(t.Context(), "where", "", new(string)); !errors.Is(err, sdk.ErrRunFinished) {
		t.Error(err)
	}
	close(goOn)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	untilReleased(t, b)
}

func untilReleased(t *testing.T, b *browsing) {
	t.Helper()
	for b.released.Load() == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the state is not released")
		}
		time.Sleep(time.Millisecond)
	}
}

func boundTo(t *testing.T, run *sdk.Run) string {
	t.Helper()
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.GetRun().GetWorkerId()
}

// TestMistakesInQueriesAreReported when the workflow is registered.
func TestMistakesInQueriesAreReported(t *testing.T) {
	none := sdk.NewWorkflow[int]("none")
	sdk.AddStep(none, "a", func(sdk.Context, int) (int, error) { return 0, nil })
	sdk.AddQuery(none, "q", func(sdk.QueryContext, int) (int, error) { return 0, nil })
	bad := sdk.NewWorkflow[int]("bad", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(bad, "a", func(sdk.Context, int) (int, error) { return 0, nil })
	sdk.AddQuery(bad, "two words", func(sdk.QueryContext, int) (int, error) { return 0, nil })
	sdk.AddQuery(bad, "twice", func(sdk.QueryContext, int) (int, error) { return 0, nil })
	sdk.AddQuery[int, chan int, int](bad, "twice", nil)
	for w, says := range map[*sdk.Workflow[int]][]string{
		none: {`query "q": the workflow is not sticky`},
		bad:  {`"two words"`, `query "twice" is added more than once`, `query "twice": the function is nil`, `query "twice": its argument, type chan int`},
	} {
		err := w.Validate()
		for _, want := range says {
			if !errors.Is(err, sdk.ErrInvalidDefinition) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", w.Name(), err, want)
			}
		}
	}
}
