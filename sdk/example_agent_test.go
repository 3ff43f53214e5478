package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// reply is what the model says: an answer, or a tool to use.
type reply struct {
	Answer string
	Tool   string
	// Risky tools need the word of a person; a Slow one has its result tomorrow.
	Risky, Slow bool
}

// model stands for one that costs money and says something else each time.
func model(talk []string) (reply, error) {
	fmt.Println("the model is asked after", talk[len(talk)-1])
	switch last := talk[len(talk)-1]; {
	case last == "tidy up":
		return reply{Tool: "list"}, nil
	case last == "list: 3 old files":
		return reply{Tool: "delete", Risky: true}, nil
	case last == "delete: started":
		return reply{Tool: "count", Slow: true}, nil
	}
	return reply{Answer: "done: " + talk[len(talk)-1]}, nil
}

// use stands for tools with effects.
func use(tool string) (string, error) {
	return tool + ": " + map[string]string{"list": "3 old files", "delete": "started", "count": "no old files"}[tool], nil
}

// chat goes on until the model has an answer.
func chat(ctx sdk.Context, task string) (string, error) {
	talk := []string{task}
	for {
		r, err := sdk.Do(ctx, "think", func(sdk.Context) (reply, error) { return model(talk) })
		if err != nil || r.Answer != "" {
			return r.Answer, err
		}
		if r.Risky {
			ok, err := sdk.Receive[bool](ctx, "approval", &sdk.WaitOptions{Timeout: 48 * time.Hour})
			if errors.Is(err, sdk.ErrWaitTimeout) || err == nil && !ok {
				return "given up: nobody wants " + r.Tool, nil
			} else if err != nil {
				return "", err
			}
		}
		if r.Slow {
			if err := sdk.Sleep(ctx, 24*time.Hour); err != nil {
				return "", err
			}
		}
		result, err := sdk.Do(ctx, r.Tool, func(sdk.Context) (string, error) { return use(r.Tool) })
		if err != nil {
			return "", err
		}
		talk = append(talk, result)
	}
}

// An agent: how many turns it takes, and which tools, nobody knows beforehand. It waits
// for a person, who may take two days, and sleeps for one. Its worker is killed on the
// way: the model is not asked again for what it has said, and no tool is used twice.
func Example_agent() {
	agent := sdk.NewWorkflow[string]("agent", sdk.WorkflowConfig{Sticky: sdk.Soft})
	step := sdk.AddStep(agent, "chat", chat)

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1", "worker-2")}, agent)
	check(err)
	defer closeEngine(e)
	approved, err := agent.Start(ctx, e.Client(), "tidy up")
	check(err)
	check(e.Advance(ctx, 3*time.Hour)) // it waits for a person
	got, err := approved.Get(ctx)
	check(err)
	fmt.Println("it waits for", strings.Split(got.GetRun().GetWaitingFor(), ",")[0])
	check(e.KillWorker(got.GetRun().GetWorkerId()))
	check(approved.Signal(ctx, "approval", true))
	check(e.Advance(ctx, 24*time.Hour))
	answer, err := step.Result(ctx, approved)
	check(err)
	fmt.Println(answer)

	forgotten, err := agent.Start(ctx, e.Client(), "tidy up")
	check(err)
	check(e.Advance(ctx, 48*time.Hour))
	answer, err = step.Result(ctx, forgotten)
	check(err)
	fmt.Println(answer)
	// Output:
	// the model is asked after tidy up
	// the model is asked after list: 3 old files
	// it waits for signal "approval" for step "chat"
	// the model is asked after delete: started
	// the model is asked after count: no old files
	// done: count: no old files
	// the model is asked after tidy up
	// the model is asked after list: 3 old files
	// given up: nobody wants delete
}
