package sdk_test

import (
	"context"
	"fmt"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// A conversation of weeks: after every few messages the run goes on as new, with what is
// to be remembered as its input. It stays on its worker, where the model is loaded; what
// is said during a change-over is not lost.
func Example_conversation() {
	ctx := context.Background()
	type memory struct {
		Said int `json:"said"`
	}
	type model struct{ loads int }
	loads := 0
	chat := sdk.NewWorkflow[memory]("conversation", sdk.WorkflowConfig{Sticky: sdk.Soft})
	loaded := sdk.NewLocal(chat, sdk.LocalConfig[*model, memory]{
		Bind:    func(sdk.BindContext, memory) (*model, error) { loads++; return &model{loads}, nil },
		Release: func(*model, sdk.Why) error { return nil },
	})
	talk := sdk.AddStep(chat, "talk", func(ctx sdk.Context, m memory) (string, error) {
		with, err := loaded.Get(ctx)
		if err != nil {
			return "", err
		}
		for range 3 {
			text, err := sdk.Receive[string](ctx, "say")
			if err != nil {
				return "", err
			}
			if text == "bye" {
				return fmt.Sprintf("%d things were said; models loaded: %d", m.Said, with.loads), nil
			}
			m.Said++
		}
		return "", sdk.ContinueAs(ctx, chat, m)
	})

	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, chat)
	check(err)
	defer closeEngine(e)

	run, err := chat.Start(ctx, e.Client(), memory{})
	check(err)
	for i := range 10 {
		check(run.Signal(ctx, "say", fmt.Sprintf("thing %d", i)))
	}
	check(run.Signal(ctx, "say", "bye"))
	out, err := talk.Result(ctx, run)
	check(err)
	fmt.Println(out)
	view, err := run.Get(ctx)
	check(err)
	fmt.Println("the run went on as new", view.GetRun().GetContinued(), "times")
	// Output:
	// 10 things were said; models loaded: 1
	// the run went on as new 3 times
}
