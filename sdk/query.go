package sdk

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"reflect"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// QueryContext is what the function of a query is given. As a context.Context it ends
// when the time of the question is over, when the worker may not act for its runs any
// more, and when it stops. It is not the context of a step: Do, Receive, Spawn, Get of
// local state and the like refuse it with ErrInvalidArgument, for a query changes
// nothing. Now is that of the wall clock: a query is not executed again.
type QueryContext interface {
	context.Context
	RunID() string
	Workflow() string
	// Query is the name of the query.
	Query() string
	// WorkerID is the id of the worker that answers: that which the run is bound to.
	WorkerID() string
	// WorkerLabels are the labels of that worker. The caller's to keep.
	WorkerLabels() map[string]string
	// Epoch is that of the run's binding: see Binding.Epoch.
	Epoch() uint64
	// Logger adds run and query to what it logs.
	Logger() *slog.Logger

	// Only this package makes a QueryContext.
	sealed()
}

// Query is a question to the live state of a run: takes an A, answers with a B. Make it
// with AddQuery.
type Query[A, B any] struct{ core *query }

// query is a Query without its types.
type query struct {
	name     string
	function attempt.Query
}

// AddQuery adds a query to a workflow, which must be Soft or Hard: the function is
// called on the worker that a run is bound to, beside the run's steps, and gets at what
// they keep there by Local.Peek.
//
//   - It changes nothing: nothing of it is in the run's history. It takes no slot.
//   - It runs while steps do. What both use they have to guard, as goroutines do.
//   - It is the code of the worker, not a part of the workflow's version: a worker that
//     does not have it answers ErrUnknownQuery.
//   - A worker executes 16 at once, 4 of one run. Others wait for a place until their
//     time is over: up to 1,024, and 64 of one run; ErrLimitExceeded beyond that. A
//     function that goes on after the end of its context keeps its place until it
//     returns, and the local state that it has got is not released before.
//
// A and B are anything that encoding/json can decode and encode. An error that the
// function returns comes back as ErrQueryFailed, or as ErrStateNotThere if it wraps
// that. Mistakes are reported by Validate, and when the workflow is registered.
func AddQuery[In, A, B any](w *Workflow[In], name string, fn func(ctx QueryContext, arg A) (B, error)) *Query[A, B] {
	wf := w.erased()
	q := &query{name: name}
	if fn == nil {
		wf.faultf("query %q: the function is nil", name)
	} else {
		q.function = func(ctx context.Context, question *attempt.Question) ([]byte, error) {
			return answer(&queryContext{ctx, question}, question.Ask.GetArg(), fn)
		}
	}
	for i, t := range []reflect.Type{reflect.TypeFor[A](), reflect.TypeFor[B]()} {
		for _, fault := range unencodable(t) {
			wf.faultf("query %q: its %s, type %v: %w", name, [...]string{"argument", "answer"}[i], t, fault)
		}
	}
	wf.addQuery(q)
	return &Query[A, B]{core: q}
}

// addQuery declares a query for the workflow.
func (w *workflow) addQuery(q *query) {
	if err := messages.CheckName("the name of a query", q.name); err != nil {
		w.faultf("%w", err)
	}
	if w.config.Sticky == None {
		w.faultf("query %q: the workflow is not sticky, so that no worker keeps what could be asked: declare it Soft or Hard", q.name)
	}
	if w.queries[q.name] != nil {
		w.faultf("query %q is added more than once", q.name)
	}
	if w.queries == nil {
		w.queries = map[string]*query{}
	}
	w.queries[q.name] = q
	if n := len(w.queries); n == messages.QueriesOfWorkflowMax+1 {
		w.faultf("it has more than QueriesOfWorkflowMax = %d queries", messages.QueriesOfWorkflowMax)
	}
}

// answer is what the worker calls for one question.
func answer[A, B any](ctx QueryContext, data []byte, fn func(QueryContext, A) (B, error)) ([]byte, error) {
	var arg A
	if err := decode(data, &arg); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the argument of query %q is no %T: %w", ctx.Query(), arg, err)
	}
	out, err := fn(ctx, arg)
	if err != nil {
		return nil, err
	}
	answer, err := json.Marshal(out)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidOutput, "the answer of query %q does not encode as JSON: %w", ctx.Query(), err)
	}
	return answer, nil
}

// queryContext finds itself as a value, so that derived contexts lead to it.
type queryContext struct {
	context.Context
	question *attempt.Question
}

type queryContextKey struct{}

func (c *queryContext) Value(key any) any {
	if key == (queryContextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func (c *queryContext) RunID() string    { return c.question.Ask.GetRunId() }
func (c *queryContext) Workflow() string { return c.question.Ask.GetWorkflow() }
func (c *queryContext) Query() string    { return c.question.Ask.GetQuery() }
func (c *queryContext) Epoch() uint64    { return c.question.Ask.GetEpoch() }
func (c *queryContext) WorkerID() string { return c.question.Worker.GetWorkerId() }
func (c *queryContext) sealed()          {}

func (c *queryContext) WorkerLabels() map[string]string {
	return maps.Clone(c.question.Worker.GetLabels())
}

func (c *queryContext) Logger() *slog.Logger {
	return loggerOf(c.Context).With("run", c.RunID(), "query", c.Query())
}

// Peek returns the value for the run of a query; ctx is the query's context or one
// derived from it. It never builds: if no step has built the value yet, or it was
// released, it is ErrStateNotThere. The value is not released before the query has
// returned, whatever becomes of the run. Steps may use it at the same time.
//
// Errors: ErrStateNotThere; ErrInvalidArgument for a ctx of no query, or of one whose
// workflow does not have the state.
func (l *Local[T]) Peek(ctx context.Context) (T, error) {
	var none T
	core := l.erased()
	c, ok := ctx.Value(queryContextKey{}).(*queryContext)
	if !ok {
		return none, messages.Errorf(messages.CodeInvalidArgument, "Peek of local %q needs the context that the function of a query was given, or one derived from it; a step uses Get", core.name)
	}
	kind := core.of(c.Workflow())
	if kind == nil {
		return none, messages.Errorf(messages.CodeInvalidArgument, "local %q is not one of workflow %q: declare it there", core.name, c.Workflow())
	}
	value, err := c.question.Peek(kind)
	if err != nil {
		return none, err
	}
	typed, ok := value.(*T)
	if !ok {
		return none, messages.Errorf(messages.CodeInternal, "local %q: the worker holds a %T, not a %T", core.name, value, typed)
	}
	return *typed, nil
}

// AskOptions describe a question. The zero value, and nil, has the default timeout.
type AskOptions struct {
	// Timeout is how long the answer may take, up to 60 s. Defaults to 5 s.
	Timeout time.Duration
}

// Ask asks a run. At most one AskOptions may be given.
//
// Errors, each as soon as it is known:
//   - ErrNotBound: the run is bound to no worker now, or is just bound anew;
//   - ErrWorkerAway: the worker is gone or out of reach, and the run waits for it;
//   - ErrStateNotThere: the run has the state that the query asks for not, or not any
//     more, on its worker;
//   - ErrQueryTimedOut, ErrQueryPanicked, ErrQueryFailed for what the query returned;
//   - ErrUnknownQuery, ErrUnknownRun, ErrRunFinished, ErrLimitExceeded,
//     ErrPayloadTooLarge for an argument or an answer of more than 1 MiB.
func (q *Query[A, B]) Ask(ctx context.Context, run *Run, arg A, options ...*AskOptions) (B, error) {
	var out B
	if q == nil || q.core == nil {
		return out, messages.Errorf(messages.CodeInvalidArgument, "the query was not made by AddQuery")
	}
	err := run.Ask(ctx, q.core.name, arg, &out, options...)
	return out, err
}

// Ask asks the run a query by its name, as Query.Ask does, and stores the answer in the
// value that into points to. The argument is anything that encoding/json can encode.
func (r *Run) Ask(ctx context.Context, query string, arg, into any, options ...*AskOptions) error {
	opts, err := onlyOptions(options)
	if err != nil {
		return err
	}
	data, err := json.Marshal(arg)
	if err != nil {
		return messages.Errorf(messages.CodeInvalidInput, "the argument of query %q does not encode as JSON: %w", query, err)
	}
	req := &api.AskRunRequest{RunId: r.id, Query: query, Arg: data}
	if opts.Timeout != 0 {
		req.Timeout = durationpb.New(opts.Timeout)
	}
	res, err := r.client.askRun(ctx, req)
	if err != nil {
		return err
	}
	if err := decode(res.GetAnswer(), into); err != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "the answer of query %q is no %T: %w", query, into, err)
	}
	return nil
}

// askRun gives a try the time of the question, and some for the way.
func (c *Client) askRun(ctx context.Context, req *api.AskRunRequest) (*api.AskRunResponse, error) {
	within := time.Duration(messages.DefaultQueryTimeoutMs) * time.Millisecond
	if d := req.GetTimeout().AsDuration(); d > 0 {
		within = d
	}
	return call(ctx, c, callOptions{tryTimeout: within + waitSlack}, apiconnect.LimpetServiceClient.AskRun, req)
}
