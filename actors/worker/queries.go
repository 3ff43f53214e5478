package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/messages"
)

// queries answers questions to the live state of runs, beside their steps: each on a
// goroutine of its own, some at a time, others wait for a place. A function that does
// not return in time is answered for, and keeps its place until it returns.
type queries struct {
	worker *Worker

	mu      sync.Mutex
	lastID  uint64
	running int
	// ofRun counts by run: those that are executed, and all.
	ofRun map[string]queriesOfRun
	// waiting for a place, in order.
	waiting []*query
}

type queriesOfRun struct{ running, all int }

// query is one question.
type query struct {
	id  uint64
	ask *messages.AskWorker
	to  *actor.PID
	// lease ends with the worker's right to act, ctx with the time of the question
	// as well.
	lease  context.Context
	ctx    context.Context
	turn   chan struct{} // closed once it has a place
	placed bool
}

// queryIDs tells queries from functions of steps, among those that use local state.
const queryIDs = 1 << 63

// ask begins to answer a question; refused is why the worker does not, if so.
func (q *queries) ask(to *actor.PID, lease context.Context, m *messages.AskWorker, refused error) {
	if to == nil {
		return
	}
	function, err := q.find(m)
	if refused != nil {
		err = refused
	}
	if err == nil {
		err = q.enter(to, lease, m, function)
	}
	if err != nil {
		q.reply(to, nil, err)
	}
}

// find returns the function of a query; UNKNOWN_QUERY if the workflow has none of that
// name here.
func (q *queries) find(m *messages.AskWorker) (attempt.Query, error) {
	known := q.worker.cfg.Queries[m.Workflow]
	if f := known[m.Query]; f != nil {
		return f, nil
	}
	names := slices.Sorted(maps.Keys(known))
	meant := ""
	if nearest := messages.Nearest(m.Query, names); nearest != "" {
		meant = fmt.Sprintf("; did you mean %q?", nearest)
	}
	return nil, messages.Errorf(messages.CodeUnknownQuery, "workflow %q has no query %q at worker %q, but %q%s", m.Workflow, m.Query, q.worker.info.WorkerId, names, meant)
}

// enter lets a question wait for a place; LIMIT_EXCEEDED if too many do.
func (q *queries) enter(to *actor.PID, lease context.Context, m *messages.AskWorker, function attempt.Query) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	of := q.ofRun[m.RunId]
	switch {
	case len(q.waiting) >= messages.QueriesWaitingMax:
		return messages.Errorf(messages.CodeLimitExceeded, "%d queries wait for a place at worker %q: QueriesWaitingMax; QueriesMax = %d are executed at once",
			len(q.waiting), q.worker.info.WorkerId, messages.QueriesMax)
	case of.all >= messages.QueriesOfRunWaitingMax:
		return messages.Errorf(messages.CodeLimitExceeded, "run %s has %d queries at worker %q that were not answered yet: QueriesOfRunWaitingMax; QueriesOfRunMax = %d of a run are executed at once",
			m.RunId, of.all, q.worker.info.WorkerId, messages.QueriesOfRunMax)
	}
	q.lastID++
	within := max(0, min(m.WithinMs, messages.QueryTimeoutMsMax))
	ctx, cancel := context.WithTimeoutCause(lease, time.Duration(within)*time.Millisecond,
		messages.Errorf(messages.CodeQueryTimedOut, "query %q of run %s has no answer from worker %q after %d ms", m.Query, m.RunId, q.worker.info.WorkerId, within))
	asked := &query{id: queryIDs | q.lastID, ask: m, to: to, lease: lease, ctx: ctx, turn: make(chan struct{})}
	of.all++
	q.ofRun[m.RunId] = of
	q.waiting = append(q.waiting, asked)
	q.serve()
	q.worker.functions.Add(1)
	go func() {
		defer q.worker.functions.Done()
		defer cancel()
		q.answer(asked, function)
	}()
	return nil
}

// serve gives places to those that wait. Called with mu held.
func (q *queries) serve() {
	q.waiting = slices.DeleteFunc(q.waiting, func(asked *query) bool {
		of := q.ofRun[asked.ask.RunId]
		if q.running >= messages.QueriesMax || of.running >= messages.QueriesOfRunMax {
			return false
		}
		q.running++
		of.running++
		q.ofRun[asked.ask.RunId] = of
		asked.placed = true
		close(asked.turn)
		return true
	})
}

// leave takes a question out, and gives its place to the next if it had one.
func (q *queries) leave(asked *query) {
	q.mu.Lock()
	defer q.mu.Unlock()
	of := q.ofRun[asked.ask.RunId]
	of.all--
	if asked.placed {
		q.running--
		of.running--
	} else {
		q.waiting = slices.DeleteFunc(q.waiting, func(w *query) bool { return w == asked })
	}
	q.ofRun[asked.ask.RunId] = of
	if of.all == 0 {
		delete(q.ofRun, asked.ask.RunId)
	}
	q.serve()
}

// answer answers a question once it has a place, and returns when its function has.
func (q *queries) answer(asked *query, function attempt.Query) {
	defer q.leave(asked)
	select {
	case <-asked.turn:
	case <-asked.ctx.Done():
		q.reply(asked.to, nil, q.over(asked))
		return
	}
	w := q.worker
	w.locals.queryBegan(asked)
	defer w.locals.returned(asked.id, nil)
	question := &attempt.Question{Ask: asked.ask, Worker: w.info, Peek: func(of *attempt.Local) (any, error) { return w.locals.peek(asked, of) }}
	call := usercode.Go(fmt.Sprintf("query %q", asked.ask.Query), func() (out queryAnswer) {
		data, err := function(asked.ctx, question)
		if err != nil {
			return queryAnswer{err: queryError(asked.ctx, err)}
		}
		return queryAnswer{data: data}
	})
	select {
	case <-call.Done:
		out, fault := call.Outcome()
		q.reply(asked.to, out.data, q.checked(asked, out, fault))
	case <-asked.ctx.Done():
		q.reply(asked.to, nil, q.over(asked))
		<-call.Done
	}
}

// queryAnswer is what the function of a query has returned.
type queryAnswer struct {
	data []byte
	err  error
}

// checked is why what a function has returned is no answer; nil if it is.
func (q *queries) checked(asked *query, out queryAnswer, fault *usercode.Fault) error {
	m := asked.ask
	switch {
	case !q.worker.mayAct() || asked.lease.Err() != nil:
		// The process may have been stopped while the run went elsewhere.
		return q.over(asked)
	case fault != nil:
		q.worker.cfg.Logger.Error("a query panicked", "workflow", m.Workflow, "run", m.RunId, "query", m.Query, "error", fault.Error(), "stack", fault.Stack)
		return messages.Errorf(messages.CodeQueryPanicked, "%s of run %s at worker %q", usercode.Truncate(fault.Error(), messages.FailureMessageBytesMax), m.RunId, q.worker.info.WorkerId)
	case out.err != nil:
		return out.err
	}
	return messages.CheckPayload(fmt.Sprintf("the answer of query %q", m.Query), out.data)
}

// over is why a question is not answered any more.
func (q *queries) over(asked *query) error {
	if asked.lease.Err() == nil && asked.ctx.Err() != nil {
		return context.Cause(asked.ctx)
	}
	return messages.Errorf(messages.CodeWorkerAway, "worker %q may not act for run %s any more: its lease is over, or it comes to its end", q.worker.info.WorkerId, asked.ask.RunId)
}

// queryCodes are the codes of errors of queries that say more than QUERY_FAILED: of
// what the query asked its worker for, and what it was asked.
var queryCodes = []messages.Code{messages.CodeStateNotThere, messages.CodeInvalidArgument, messages.CodeInvalidOutput}

// queryError is what a query has returned as an error; why its context ended, if that
// came first.
func queryError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f := usercode.FailureOf(err)
	if !slices.Contains(queryCodes, messages.Code(f.Code)) {
		f.Code = string(messages.CodeQueryFailed)
	}
	f.Stack = ""
	return messages.FromFailure(f)
}

// reply answers whoever asked.
func (q *queries) reply(to *actor.PID, data []byte, err error) {
	r := &messages.AskWorkerReply{Error: messages.ToFailure(err)}
	if err == nil {
		r.Answer = data
	}
	q.worker.root.Send(to, r)
}

// queryBegan says that a query is about to be called: what it gets of local state is
// not released before it returns.
func (l *localShell) queryBegan(asked *query) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeper.AttemptBegan(local.Attempt{Number: asked.id, RunID: asked.ask.RunId, Epoch: asked.ask.Epoch})
}

// peek returns the value of a kind of local state that is there for the run of a query.
func (l *localShell) peek(asked *query, of *attempt.Local) (any, error) {
	kind := l.worker.cfg.Locals[asked.ask.Workflow][of.Name]
	if kind == nil || kind.Origin != of.Origin {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "local %q is not one of workflow %q at this worker", of.Name, asked.ask.Workflow)
	}
	answer := make(chan localAnswer, 1)
	l.with(func(now time.Time) []local.Action {
		l.lastAsk++
		l.asks[l.lastAsk] = &localAsk{kind: kind, answer: answer}
		return l.keeper.Peek(now, local.Ask{ID: l.lastAsk, Attempt: asked.id, Local: kind.Name, Shared: kind.Shared()})
	})
	a := <-answer
	return a.value, a.err
}
