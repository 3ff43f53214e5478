package sdk_test

import (
	"fmt"

	"github.com/limpetrun/limpet/sdk"
)

// fencedRow is a row of an outside system that remembers the largest token with
// which it was written. In SQL: UPDATE … SET value = $1, token = $2 WHERE id = $3
// AND token <= $2, and look whether a row was changed.
type fencedRow struct {
	value string
	token uint64
}

func (r *fencedRow) write(value string, token uint64) error {
	if token < r.token {
		return fmt.Errorf("token %d is older than %d: the run goes on elsewhere", token, r.token)
	}
	r.value, r.token = value, token
	return nil
}

// A worker stops acting for a run before the run goes on elsewhere. What it had
// already sent may still arrive later: the token of the binding, which grows with
// each binding of a run, lets the receiver refuse it. A step has its binding by
// ctx.Binding().
func ExampleBinding_Token() {
	row := &fencedRow{}
	first, second := sdk.Binding{Epoch: 1}, sdk.Binding{Epoch: 2}
	fmt.Println(row.write("begun", first.Token()))
	fmt.Println(row.write("begun again elsewhere", second.Token()))
	fmt.Println(row.write("late", first.Token()))
	fmt.Println(row.value)
	// Output:
	// <nil>
	// <nil>
	// token 1 is older than 2: the run goes on elsewhere
	// begun again elsewhere
}
