package worker_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A worker joins by the address of any member, serves until its context ends,
// and then lets its running steps end before it leaves. A program calls
// RunUntilSignal instead, to be stopped by SIGTERM.
func ExampleWorker_Run() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	thumbnails := sdk.NewWorkflow[string]("thumbnails")
	render := sdk.AddStep(thumbnails, "render", func(ctx sdk.Context, file string) (string, error) {
		return file + " rendered by " + ctx.WorkerID(), nil
	})
	e, err := sdktest.New(ctx, sdktest.Config{NoWorkers: true}, thumbnails)
	check(err)
	defer func() { check(e.Close()) }()

	w, err := worker.New(worker.Config{
		ID:     "studio/1",
		Join:   []string{e.JoinAddress()},
		Slots:  8,
		Labels: map[string]string{"gpu": "a100"},
		Logger: slog.New(slog.DiscardHandler),
		Hooks: &worker.Hooks{
			Ended: func(d *messages.Dispatch, failure *messages.Failure, took time.Duration) {
				fmt.Println("ended:", d.GetStep(), failure == nil)
			},
		},
	}, thumbnails)
	check(err)
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()

	<-w.Ready()
	run, err := thumbnails.Start(ctx, e.Client(), "cat.png")
	check(err)
	out, err := render.Result(ctx, run)
	check(err)
	stop()
	err = <-ended
	fmt.Println(out, err)
	// Output:
	// ended: render true
	// cat.png rendered by studio/1 <nil>
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}
