// Package parts has what the packages beside sdk need of it and its users need not
// see. Package sdk fills it in before main begins; nothing changes it afterwards.
//
// Imports only actors/attempt.
package parts

import (
	"context"

	"github.com/limpetrun/limpet/actors/attempt"
)

// The parts. A workflow is an sdk.AnyWorkflow.
var (
	// Functions returns the step functions of a workflow by name, as the worker
	// actor calls them.
	Functions func(workflow any) map[string]attempt.Function
	// Locals returns the local state that was declared for a workflow, as the worker
	// keeps it.
	Locals func(workflow any) []*attempt.Local
	// Queries returns the queries of a workflow by name.
	Queries func(workflow any) map[string]attempt.Query
	// NewQueryContext makes the sdk.QueryContext of a question.
	NewQueryContext func(ctx context.Context, q *attempt.Question) context.Context
	// NewContext makes the sdk.Context of an attempt.
	NewContext func(ctx context.Context, a *attempt.Attempt) context.Context
)
