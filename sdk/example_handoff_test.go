package sdk_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// Local state that moves: when the worker of a SOFT run drains, Handoff writes
// the state down and Bind on the run's next worker goes on from there, instead
// of building it anew.
func Example_handOff() {
	type session struct{ Said []string }
	chat := sdk.NewWorkflow[string]("chat", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sessions := sdk.NewLocal(chat, sdk.LocalConfig[*session, string]{
		Bind: func(ctx sdk.BindContext, user string) (*session, error) {
			s := new(session)
			if state, ok := ctx.HandedOff(); ok {
				return s, json.Unmarshal(state, s)
			}
			s.Said = append(s.Said, "hello "+user)
			return s, nil
		},
		Handoff: func(_ context.Context, s *session) ([]byte, error) { return json.Marshal(s) },
	})
	asking, goOn := make(chan string), make(chan struct{})
	ask := sdk.AddStep(chat, "ask", func(ctx sdk.Context, _ string) (any, error) {
		s, err := sessions.Get(ctx)
		if err != nil {
			return nil, err
		}
		s.Said = append(s.Said, "how are you?")
		asking <- ctx.WorkerID()
		<-goOn
		return nil, nil
	})
	bye := sdk.AddStep(chat, "bye", func(ctx sdk.Context, _ string) ([]string, error) {
		s, err := sessions.Get(ctx)
		if err != nil {
			return nil, err
		}
		b := ctx.Binding()
		fmt.Printf("epoch %d, %s, handed off: %v\n", b.Epoch, b.StateReason, b.HandedOff)
		return append(s.Said, "bye"), nil
	}, sdk.StepConfig{Parents: sdk.Steps(ask)})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1", "worker-2")}, chat)
	check(err)
	defer closeEngine(e)
	run, err := chat.Start(ctx, e.Client(), "ada")
	check(err)
	_, err = e.Client().DrainWorker(ctx, <-asking) // as `limpet worker drain ID` does
	check(err)
	close(goOn)
	said, err := bye.Result(ctx, run)
	check(err)
	fmt.Printf("%q\n", said)
	// Output:
	// epoch 2, worker draining, handed off: true
	// ["hello ada" "how are you?" "bye"]
}
