package sdk_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A warm index, or a model: dear to build, and the same for all runs with the
// same key. They share it, on whichever worker holds it: twenty runs over three
// books, on two workers, build three indexes.
func Example_warmIndex() {
	type question struct{ Book, Word string }
	ask := sdk.NewWorkflow[question]("ask-the-index", sdk.WorkflowConfig{Sticky: sdk.Soft})
	var built atomic.Int32
	index := sdk.NewLocal(ask, sdk.LocalConfig[map[string]int, question]{
		Name: "index",
		Key:  func(q question) string { return q.Book },
		Bind: func(_ sdk.BindContext, q question) (map[string]int, error) {
			built.Add(1)
			words := map[string]int{}
			for _, word := range strings.Fields(books[q.Book]) {
				words[word]++
			}
			return words, nil
		},
		Size: func(words map[string]int) int64 { return int64(len(words) * 32) }, // about, in bytes
	})
	answer := sdk.AddStep(ask, "answer", func(ctx sdk.Context, q question) (int, error) {
		words, err := index.Get(ctx)
		return words[q.Word], err
	})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Workers: []worker.Config{{ID: "worker-1", Slots: 100}, {ID: "worker-2", Slots: 100}}}, ask)
	check(err)
	defer closeEngine(e)
	var questions []question
	for i := range 20 {
		questions = append(questions, question{Book: []string{"sea", "shore", "rock"}[i%3], Word: "the"})
	}
	runs, err := ask.StartMany(ctx, e.Client(), questions)
	check(err)
	found := 0
	for _, run := range runs {
		n, err := answer.Result(ctx, run)
		check(err)
		found += n
	}
	fmt.Printf("%d runs built %d indexes and found the word %d times\n", len(runs), built.Load(), found)
	// Output: 20 runs built 3 indexes and found the word 41 times
}

var books = map[string]string{
	"sea":   "the tide comes and the tide goes",
	"shore": "between the sea and the land is the shore",
	"rock":  "a limpet has its place on the rock and comes back to it",
}
