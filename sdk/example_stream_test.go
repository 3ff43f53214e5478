package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// A conversation whose answers are read word by word while they are made. Each answer is
// a Do: one that is recorded is not made again, so that its words come once. Of the one
// that broke off, readers see how far it came, and the next attempt's from the beginning.
func Example_streamedAnswers() {
	ctx := context.Background()
	fails := true
	chat := sdk.NewWorkflow[string]("chat", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(chat, "talk", func(ctx sdk.Context, name string) (int, error) {
		answers := ctx.Stream("answers")
		for said := 0; ; said++ {
			text, err := sdk.Receive[string](ctx, "say")
			if err != nil || text == "bye" {
				return said, err
			}
			_, err = sdk.Do(ctx, "answer", func(sdk.Context) (int, error) {
				words := strings.Fields("you said " + text + ", " + name + ".")
				for i, word := range words {
					if i == 2 && text == "more" && fails {
						fails = false
						return 0, errors.New("the model broke off")
					}
					if _, err := answers.WriteString(" " + word); err != nil {
						return 0, err
					}
				}
				return len(words), nil
			})
			if err != nil {
				return said, err
			}
		}
	}, sdk.StepConfig{Retries: 1, Backoff: 1})

	e, err := sdktest.New(ctx, sdktest.Config{}, chat)
	check(err)
	defer closeEngine(e)

	run, err := chat.Start(ctx, e.Client(), "Ann")
	check(err)
	for _, text := range []string{"hello", "more", "bye"} {
		check(run.Signal(ctx, "say", text))
	}
	section := 0
	for word, err := range run.ReadStream(ctx, "answers", &sdk.ReadStreamOptions{Follow: true}) {
		check(err)
		if word.Section != section {
			section = word.Section
			fmt.Printf("\nattempt %d:", word.Attempt)
		}
		fmt.Print(string(word.Data))
	}
	// Output:
	// attempt 1: you said hello, Ann. you said
	// attempt 2: you said more, Ann.
}
