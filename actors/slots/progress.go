package slots

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// ProgressEvery is the least time between two messages with the progress of an attempt;
// what it tells between them is sent with the next one, or with its result.
const ProgressEvery = 500 * time.Millisecond

// progress is what an attempt has told of itself last.
type progress struct {
	value []byte
	// serial counts what it has told, sent what its run was told of that.
	serial, sent int64
	sentAt       time.Time
}

// due is when the run is to be told; zero if there is nothing new.
func (p *progress) due() time.Time {
	if p == nil || p.sent == p.serial {
		return time.Time{}
	}
	return p.sentAt.Add(ProgressEvery)
}

// last is what a message about the attempt says of it.
func (p *progress) last() ([]byte, int64) {
	if p == nil {
		return nil, 0
	}
	return p.value, p.serial
}

// Progress takes what a function tells. It is a sign of life.
func (c *Core) Progress(now time.Time, id uint64, value []byte) []Action {
	if !c.begin() {
		return nil
	}
	a := c.byID[id]
	if a == nil || a.dispatch == nil || a.cause != nil {
		return c.end(now)
	}
	if a.progress == nil {
		a.progress = &progress{}
	}
	a.progress.value = value
	a.progress.serial++
	a.beat(now)
	if !now.Before(a.progress.due()) {
		c.sendProgress(now, a)
	}
	c.retime(a)
	return c.end(now)
}

// sendProgress tells the run.
func (c *Core) sendProgress(now time.Time, a *attempt) {
	p := a.progress
	p.sent, p.sentAt = p.serial, now
	c.send(a.run.reply, a.run.id, &messages.Progress{RunId: a.run.id, Step: a.step, Attempt: a.number, Progress: p.value, Serial: p.serial})
}

// beat says that the function lives: it has so long again until it has to say so.
func (a *attempt) beat(now time.Time) {
	if a.heartbeat > 0 && a.stillAt.IsZero() {
		a.silentTo = now.Add(a.heartbeat)
	}
}

func silenceError(a *attempt) error {
	return messages.Errorf(messages.CodeHeartbeatTimeout, "step %q attempt %d told no progress for its heartbeat of %v", a.step, a.number, a.heartbeat)
}

// endedByTime says that an attempt failed because its time was over.
func endedByTime(cause error) bool {
	code := messages.CodeOf(cause)
	return code == messages.CodeExecutionTimeout || code == messages.CodeHeartbeatTimeout
}

// Extend lets a function execute for at least d from now, waits not counted. It never
// gets less time by that.
func (c *Core) Extend(now time.Time, id uint64, d time.Duration) []Action {
	if !c.begin() {
		return nil
	}
	a := c.byID[id]
	if a == nil || a.dispatch == nil || a.cause != nil || a.limit == 0 {
		return c.end(now)
	}
	if limit := now.Sub(a.started) - a.stoodBy(now) + d; limit > a.limit {
		a.limit, a.extended = limit, true
		if a.stillAt.IsZero() {
			a.deadline = a.started.Add(a.limit + a.stood)
			c.out = append(c.out, Action{Kind: Extended, ID: a.id, Deadline: a.deadline})
		}
		if a.told {
			c.news(now, a)
		}
		c.retime(a)
	}
	return c.end(now)
}
