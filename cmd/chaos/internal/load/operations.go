package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// codeGivenUp marks a call that the load itself broke off.
const codeGivenUp messages.Code = verdict.GivenUp

// operation is one thing that a client wants: a run, or an event, and what
// comes after it.
type operation struct {
	load   *Load
	number uint64
	dice   *rand.Rand
	// client is for calls, other prefers another server, patient is for waits.
	client, other, patient *sdk.Client
	shape                  *shape
	plan                   Plan
}

// weights of what operations do; the rest only starts a run.
const (
	eventPercent   = 8
	cancelPercent  = 8
	replayPercent  = 6
	waitPercent    = 8
	watchPercent   = 5
	doublePercent  = 6
	keylessPercent = 4
)

// families of workflows that a client starts, as often as they are named.
var families = []string{chain, chain, chain, chain, agent, agent, fan, fan, parent, parent, parent, overrun, state, state, hand, hand, hand, share, share}

// operate does the operation with the number: what it is follows from that and
// the seed alone.
func (l *Load) operate(number uint64) {
	dice := rand.New(rand.NewPCG(l.config.Seed, number))
	at := dice.IntN(len(l.clients))
	o := &operation{
		load: l, number: number, dice: dice,
		client: l.clients[at], other: l.clients[(at+1)%len(l.clients)], patient: l.patient[at],
	}
	what := dice.IntN(100)
	family := families[dice.IntN(len(families))]
	if what < eventPercent {
		family = event
	}
	o.shape = shapes[family+"-"+strategies[dice.IntN(len(strategies))].suffix]
	if o.shape == nil {
		// Private local state is for sticky runs.
		o.shape = shapes[family+"-"+softSuffix]
	}
	o.plan = drawPlan(dice, o.shape, number)
	switch what -= eventPercent; {
	case what < 0:
		o.push()
	case family == agent:
		o.converse()
	case what < cancelPercent:
		o.cancel()
	case what < cancelPercent+replayPercent:
		o.replay()
	case what < cancelPercent+replayPercent+waitPercent:
		o.wait(o.start(o.key(), o.client))
	case what < cancelPercent+replayPercent+waitPercent+watchPercent:
		o.watch(o.start(o.key(), o.client))
	case what < cancelPercent+replayPercent+waitPercent+watchPercent+doublePercent:
		o.twice(func(c *sdk.Client) { o.start(o.key(), c) })
	case what < cancelPercent+replayPercent+waitPercent+watchPercent+doublePercent+keylessPercent:
		o.start("", o.client)
	default:
		run := o.start(o.key(), o.client)
		o.asks(run)
		o.reads(run)
	}
}

func (o *operation) key() string {
	return fmt.Sprintf("chaos-%d-%d", o.load.config.Seed, o.number)
}

func (o *operation) metadata() map[string]string {
	return map[string]string{verdict.NumberKey: strconv.FormatUint(o.number, 10)}
}

// twice does the same at two servers at once.
func (o *operation) twice(f func(*sdk.Client)) {
	var both sync.WaitGroup
	both.Go(func() { f(o.client) })
	both.Go(func() { f(o.other) })
	both.Wait()
}

// call makes calls, and writes each down, until one is acknowledged or refused;
// once only if it may not be repeated. It says whether it was acknowledged.
func (o *operation) call(call verdict.Call, repeat bool, do func(context.Context, *verdict.Call) error) bool {
	call.Number = o.number
	for {
		c := call
		c.Begin = time.Now()
		err := do(o.load.ctx, &c)
		c.End = time.Now()
		o.load.record(&c, err)
		if c.Outcome != verdict.Ambiguous || !repeat || backoff.Sleep(o.load.ctx, pollEvery) != nil {
			return c.Outcome == verdict.Acknowledged
		}
	}
}

// record classifies the outcome of a call and keeps it.
func (l *Load) record(c *verdict.Call, err error) {
	switch {
	case err == nil:
		c.Outcome = verdict.Acknowledged
		l.acknowledged.Add(1)
	default:
		c.Code, c.Error = messages.CodeOf(err), err.Error()
		if l.ctx.Err() != nil {
			c.Code = codeGivenUp
		}
		c.Outcome = verdict.Refused
		counter := &l.refused
		if c.Code == codeGivenUp || c.Code == messages.CodeInternal || c.Code.Retryable() || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			c.Outcome, counter = verdict.Ambiguous, &l.ambiguous
		}
		counter.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, *c)
}

// start starts the run; nil if that was not acknowledged. Without a key the
// call is made once.
func (o *operation) start(key string, client *sdk.Client) *sdk.Run {
	return o.startWith(key, client, nil)
}

// startWith starts it with a message; nil for none.
func (o *operation) startWith(key string, client *sdk.Client, signal *sdk.Signal) *sdk.Run {
	input, err := json.Marshal(o.plan)
	if err != nil {
		panic(err) // a Plan has nothing that does not encode
	}
	var run *sdk.Run
	o.call(verdict.Call{Act: verdict.ActStart, Workflow: o.shape.name, Key: key, Input: input}, key != "", func(ctx context.Context, c *verdict.Call) error {
		started, err := client.Start(ctx, o.shape.name, json.RawMessage(input), &sdk.StartOptions{IdempotencyKey: key, Metadata: o.metadata(), Signal: signal})
		if err == nil {
			run, c.Runs = started, []string{started.ID()}
		}
		return err
	})
	return run
}

// push pushes an event, sometimes twice at once.
func (o *operation) push() {
	input, err := json.Marshal(o.plan)
	if err != nil {
		panic(err)
	}
	once := func(client *sdk.Client) {
		o.call(verdict.Call{Act: verdict.ActEvent, Event: eventOrder, Triggers: triggered, Key: o.key(), Input: input}, true, func(ctx context.Context, c *verdict.Call) error {
			e, err := client.PushEvent(ctx, eventOrder, json.RawMessage(input), &sdk.EventOptions{ID: o.key(), Metadata: o.metadata()})
			if err != nil {
				return err
			}
			for _, r := range e.Runs {
				c.Runs = append(c.Runs, r.ID())
			}
			return nil
		})
	}
	if o.dice.IntN(100) < 20 {
		o.twice(once)
		return
	}
	once(o.client)
}

// cancel starts a run and cancels it a moment later.
func (o *operation) cancel() {
	after := time.Duration(o.dice.IntN(1200)) * time.Millisecond
	run := o.start(o.key(), o.client)
	if run == nil || backoff.Sleep(o.load.ctx, after) != nil {
		return
	}
	o.cancelRun(run)
}

func (o *operation) cancelRun(run *sdk.Run) {
	o.call(verdict.Call{Act: verdict.ActCancel, Runs: []string{run.ID()}}, true, func(ctx context.Context, _ *verdict.Call) error {
		return o.other.Run(run.ID()).Cancel(ctx, "chaos")
	})
}

// replay starts a run, waits for its end, and replays all or a part of it.
func (o *operation) replay() {
	// The first step only: what descends from it follows anyway, and a step
	// whose parent failed could not be replayed.
	var steps []string
	if o.dice.IntN(2) == 0 {
		steps = []string{o.shape.steps[0].name}
	}
	run := o.start(o.key(), o.client)
	for range 1 + o.dice.IntN(2) {
		if run == nil || !o.wait(run) {
			return
		}
		o.call(verdict.Call{Act: verdict.ActReplay, Runs: []string{run.ID()}, Steps: steps}, false, func(ctx context.Context, _ *verdict.Call) error {
			return o.other.Run(run.ID()).Replay(ctx, steps...)
		})
	}
	o.wait(run)
}

// wait waits for the run's end; false if it was not told of one.
func (o *operation) wait(run *sdk.Run) bool {
	if run == nil {
		return false
	}
	return o.call(verdict.Call{Act: verdict.ActWait, Runs: []string{run.ID()}}, false, func(ctx context.Context, c *verdict.Call) error {
		got, err := o.patient.Run(run.ID()).Ended(ctx)
		c.Status = got.GetRun().GetStatus()
		return err
	})
}

// watch watches the run from its first entry to its end.
func (o *operation) watch(run *sdk.Run) {
	if run == nil {
		return
	}
	o.call(verdict.Call{Act: verdict.ActWatch, Runs: []string{run.ID()}}, false, func(ctx context.Context, c *verdict.Call) error {
		for entry, err := range o.patient.Run(run.ID()).Watch(ctx, 0) {
			if err != nil {
				return err
			}
			c.Entries = append(c.Entries, entry.GetEntry())
			for _, e := range entry.GetEvents() {
				if ended := e.GetRunEnded(); ended != nil {
					c.Status = ended.GetStatus()
				}
			}
		}
		return nil
	})
}
