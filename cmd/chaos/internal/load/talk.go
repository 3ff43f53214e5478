package load

import (
	"context"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// thinkCall and goSignal are the names of the calls of a step that talks, and of
	// the messages that it waits for.
	thinkCall, goSignal = "think", "go"
	// gapMost is the longest pause between two messages, but for longGapPercent of them,
	// which take so much longer that steps are suspended meanwhile.
	gapMost        = 1200 * time.Millisecond
	longGap        = 4 * time.Second
	longGapPercent = 25
	// napMost is the longest sleep of a step, neverMost what is longer than a test.
	napMost   = 1500 * time.Millisecond
	neverMost = 24 * time.Hour
	// lookBack takes an event that was published before the step waited for it.
	lookBack = 30 * time.Minute
	// cancelsPercent of the conversations are canceled before their last message.
	cancelsPercent = 12
)

// talk makes a call and waits for what its plan says, turn for turn, and notes all of it
// in the ledger. It returns what came in all links up to here. After the turns of a link
// the run goes on as new.
func (r *role) talk(ctx sdk.Context, n int64, plan Plan) (said []string, err error) {
	l, said := r.process.ledger, plan.Heard
	for turn, what := range plan.Turns {
		if turn < plan.From {
			continue
		}
		if plan.PerLink > 0 && turn == plan.From+plan.PerLink {
			plan.From, plan.Heard = turn, said
			return said, sdk.ContinueAs(ctx, r.made[r.shape.name], plan)
		}
		call := fmt.Sprintf("%s %d", thinkCall, turn)
		got, err := sdk.Do(ctx, thinkCall, func(ctx sdk.Context) (string, error) {
			l.Did(n, verdict.Made+call, "")
			// What it returns is of this execution alone.
			return l.ID(n), r.work(ctx, n, time.Duration(of(plan.SleepMs, 1))*time.Millisecond/4)
		})
		if err != nil {
			return nil, err
		}
		l.Did(n, verdict.Got+call, got)
		message, err := listen(ctx, plan, turn, what)
		if err != nil {
			return nil, err
		}
		l.Did(n, fmt.Sprintf("%s%s %d", verdict.Took, goSignal, turn), message)
		said = append(said, message)
	}
	return said, nil
}

// listen waits for what comes in a turn.
func listen(ctx sdk.Context, plan Plan, turn int, what turn) (string, error) {
	switch what {
	case turnEvent:
		e, err := sdk.WaitEvent[string](ctx, eventKey(plan.Number, turn), &sdk.EventWait{Since: lookBack})
		return e.Payload, err
	case turnFirst:
		message := sdk.OnSignal[string](goSignal)
		if _, err := sdk.First(ctx, "first", nil, message, sdk.OnSleep(neverMost)); err != nil {
			return "", err
		}
		return message.Value(), message.Err()
	case turnSleep:
		if err := sdk.Sleep(ctx, napMost*time.Duration(1+plan.Number%3)/3); err != nil {
			return "", err
		}
	}
	return sdk.Receive[string](ctx, goSignal)
}

// eventKey is that of the event for which a step waits in a turn.
func eventKey(number uint64, turn int) string { return fmt.Sprintf("talk:%d:%d", number, turn) }

// converse starts a run that talks, with its first message or without, and sends it its
// messages, some of them twice at once, or cancels it before the last one.
func (o *operation) converse() {
	withFirst, cancels := o.dice.IntN(100) < 40 && o.plan.Turns[0] != turnEvent, o.dice.IntN(100) < cancelsPercent
	var signal *sdk.Signal
	if withFirst {
		signal = &sdk.Signal{Name: goSignal, Payload: o.plan.message(0), SignalOptions: sdk.SignalOptions{ID: o.messageID(0)}}
	}
	run := o.startWith(o.key(), o.client, signal)
	for turn := range o.plan.Turns {
		gap := time.Duration(o.dice.Int64N(int64(gapMost)))
		if o.dice.IntN(100) < longGapPercent {
			gap += longGap
		}
		if run == nil || backoff.Sleep(o.load.ctx, gap) != nil {
			return
		}
		if cancels && turn == len(o.plan.Turns)-1 {
			o.cancelRun(run)
			return
		}
		if turn == 0 && withFirst {
			continue
		}
		o.say(run, turn, o.dice.IntN(100) < 15)
		o.asks(run)
	}
}

func (o *operation) messageID(turn int) string { return fmt.Sprintf("%s-%d", o.key(), turn) }

// say sends the message of a turn, or publishes its event, by two servers at once if it
// is to be sent twice.
func (o *operation) say(run *sdk.Run, turn int, twice bool) {
	send := func(client *sdk.Client) {
		if o.plan.Turns[turn] == turnEvent {
			o.call(verdict.Call{Act: verdict.ActPublish, Runs: []string{run.ID()}, Key: o.messageID(turn)}, true, func(ctx context.Context, _ *verdict.Call) error {
				_, err := client.PushEvent(ctx, eventKey(o.number, turn), o.plan.message(turn), &sdk.EventOptions{ID: o.messageID(turn)})
				return err
			})
			return
		}
		o.call(verdict.Call{Act: verdict.ActSignal, Runs: []string{run.ID()}, Key: o.messageID(turn)}, true, func(ctx context.Context, _ *verdict.Call) error {
			return client.Run(run.ID()).Signal(ctx, goSignal, o.plan.message(turn), &sdk.SignalOptions{ID: o.messageID(turn)})
		})
	}
	if twice {
		o.twice(send)
		return
	}
	send(o.client)
}
