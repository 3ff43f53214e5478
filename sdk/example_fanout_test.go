package sdk_test

import (
	"context"
	"fmt"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// Fifty children that are awaited at once: they are on record as one wait, the step
// holds no slot meanwhile, and a retry gets the same children and what came of them.
func Example_fanOut() {
	square := sdk.NewWorkflow[int]("square")
	squared := sdk.AddStep(square, "square", func(_ sdk.Context, n int) (int, error) { return n * n, nil })

	sum := sdk.NewWorkflow[int]("sum-of-squares", sdk.WorkflowConfig{Sticky: sdk.Soft})
	summed := sdk.AddStep(sum, "sum", func(ctx sdk.Context, n int) (int, error) {
		var children []*sdk.ChildBranch
		var all []sdk.Branch
		for i := range n {
			child, err := square.Spawn(ctx, i+1)
			if err != nil {
				return 0, err
			}
			children = append(children, sdk.OnChild(child))
			all = append(all, children[i])
		}
		if err := sdk.All(ctx, "squares", nil, all...); err != nil {
			return 0, err
		}
		total := 0
		for _, child := range children {
			one, err := squared.Result(ctx, child.Child())
			if err != nil {
				return 0, err
			}
			total += one
		}
		return total, nil
	})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{}, square, sum)
	check(err)
	defer closeEngine(e)
	run, err := sum.Start(ctx, e.Client(), 50)
	check(err)
	total, err := summed.Result(ctx, run)
	check(err)
	fmt.Println(total)
	// Output: 42925
}
