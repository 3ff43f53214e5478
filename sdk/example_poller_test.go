package sdk_test

import (
	"context"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// A poller: it starts a job somewhere else and looks now and then whether that has
// ended, ever more rarely. Whoever runs the job may also say so, and the run goes on at
// once. Between two looks the step holds no slot.
func Example_poller() {
	jobs := map[string]int{} // how often each was looked at
	begin := func(name string) (string, error) { return "job-" + name, nil }
	look := func(job string) (string, error) {
		if jobs[job]++; jobs[job] < 5 {
			return "", nil
		}
		return "42 pages", nil
	}

	scan := sdk.NewWorkflow[string]("scan", sdk.WorkflowConfig{Sticky: sdk.Soft})
	scanned := sdk.AddStep(scan, "scan", func(ctx sdk.Context, name string) (string, error) {
		job, err := sdk.Do(ctx, "begin", func(sdk.Context) (string, error) { return begin(name) })
		if err != nil {
			return "", err
		}
		for pause := time.Minute; ; pause = min(2*pause, time.Hour) {
			result, err := sdk.Do(ctx, "look", func(sdk.Context) (string, error) { return look(job) })
			if err != nil || result != "" {
				return result, err
			}
			done, later := sdk.OnSignal[string]("done"), sdk.OnSleep(pause)
			switch came, err := sdk.First(ctx, "next", nil, done, later); {
			case err != nil:
				return "", err
			case came == done:
				return done.Value(), nil
			}
		}
	})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{}, scan)
	check(err)
	defer closeEngine(e)
	polled, err := scan.Start(ctx, e.Client(), "a")
	check(err)
	check(e.Advance(ctx, 15*time.Minute)) // 1 + 2 + 4 + 8
	result, err := scanned.Result(ctx, polled)
	check(err)
	fmt.Println(result, "after", jobs["job-a"], "looks")

	told, err := scan.Start(ctx, e.Client(), "b")
	check(err)
	check(e.Advance(ctx, time.Minute))
	check(told.Signal(ctx, "done", "7 pages"))
	result, err = scanned.Result(ctx, told)
	check(err)
	fmt.Println(result, "after", jobs["job-b"], "looks")
	// Output:
	// 42 pages after 5 looks
	// 7 pages after 2 looks
}
