package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// browser stands for one that a run drives: the pages that it has opened.
type browser struct {
	mu    sync.Mutex // steps and queries use it at the same time
	pages []string
}

func (b *browser) open(page string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages = append(b.pages, page)
}

func (b *browser) screenshot() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("page %d: %s", len(b.pages), b.pages[len(b.pages)-1])
}

// A browser session that is looked at while it is used. The step opens the pages that
// come by messages. The query takes a picture of what is there now: it runs beside the
// step, takes no slot, opens no browser of its own and leaves nothing in the history.
func Example_browserSession() {
	session := sdk.NewWorkflow[string]("session", sdk.WorkflowConfig{Sticky: sdk.Hard})
	tab := sdk.NewLocal(session, sdk.LocalConfig[*browser, string]{Name: "browser", Bind: func(sdk.BindContext, string) (*browser, error) { return &browser{}, nil }})
	sdk.AddStep(session, "browse", func(ctx sdk.Context, page string) (int, error) {
		for n := 0; ; n++ {
			b, err := tab.Get(ctx)
			if err != nil || page == "" {
				return n, err
			}
			b.open(page)
			if page, err = sdk.Receive[string](ctx, "open"); err != nil {
				return n, err
			}
		}
	})
	screenshot := sdk.AddQuery(session, "screenshot", func(ctx sdk.QueryContext, _ struct{}) (string, error) {
		b, err := tab.Peek(ctx)
		if err != nil {
			return "", err
		}
		return b.screenshot(), nil
	})

	ctx := context.Background()
	engine, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("gpu-1")}, session)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	run, err := session.Start(ctx, engine.Client(), "limpet.run")
	if err != nil {
		fmt.Println(err)
		return
	}
	// look asks until the step has come as far, or the answer is why there is none.
	look := func(wants string) {
		for {
			picture, err := screenshot.Ask(ctx, run, struct{}{})
			switch {
			case errors.Is(err, sdk.ErrWorkerAway) && wants == "":
				fmt.Println("the worker is away")
				return
			case errors.Is(err, sdk.ErrNotBound), errors.Is(err, sdk.ErrStateNotThere), errors.Is(err, sdk.ErrWorkerAway):
				// The session is about to begin, or to be built again.
			case err != nil:
				fmt.Println(err)
				return
			case picture == wants:
				fmt.Println(picture)
				return
			}
		}
	}
	look("page 1: limpet.run")
	err = run.Signal(ctx, "open", "limpet.run/docs")
	look("page 2: limpet.run/docs")
	// The worker is killed: that is said at once. When it is back, the step runs again
	// with what it had received.
	err = errors.Join(err, engine.KillWorker("gpu-1"))
	look("")
	err = errors.Join(err, engine.RestartWorker(ctx, "gpu-1"))
	look("page 2: limpet.run/docs")
	err = errors.Join(err, run.Signal(ctx, "open", ""), run.Wait(ctx))
	_, over := screenshot.Ask(ctx, run, struct{}{})
	fmt.Println(errors.Is(over, sdk.ErrRunFinished), err)
	// Output:
	// page 1: limpet.run
	// page 2: limpet.run/docs
	// the worker is away
	// page 2: limpet.run/docs
	// true <nil>
}
