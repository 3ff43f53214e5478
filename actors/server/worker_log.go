package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// How many lines the log gets of workers: workerLinesMax at once in each
// workerLinesIn, then one line for all others of a kind, which names
// workerNamesMax of them.
const (
	workerLinesMax = 5
	workerLinesIn  = time.Second
	workerNamesMax = 8
	// workersSeenMax bounds the workers of which it is known how they were seen last.
	workersSeenMax = 10_000
)

// workerEvent is what can become of a worker.
type workerEvent struct {
	// kind names it in the API.
	kind  string
	level slog.Level
	// one and many are what the log says of one and of several; empty for what it does
	// not say.
	one, many string
}

var (
	workerLost       = &workerEvent{"gone", slog.LevelWarn, "a worker is lost: its SOFT runs go on elsewhere, its HARD runs wait for it", "more workers are lost"}
	workerSuperseded = &workerEvent{"superseded", slog.LevelWarn, "a worker is superseded: another process has its id", "more workers are superseded"}
	workerLeft       = &workerEvent{"left", slog.LevelInfo, "a worker has left", "more workers have left"}
	workerDrains     = &workerEvent{"draining", slog.LevelInfo, "a worker drains", "more workers drain"}
	workerLapsed     = &workerEvent{"lease_lost", slog.LevelWarn, "a worker had no lease for a time and has canceled what it ran: it reached no server, or got no processor", "more workers had no lease for a time"}
	workerBack       = &workerEvent{"back", slog.LevelInfo, "a worker is back", "more workers are back"}
	workerRestarted  = &workerEvent{"joined", slog.LevelInfo, "a worker is back, as another process", "more workers are back, as other processes"}
	workerUndrained  = &workerEvent{"undrained", slog.LevelInfo, "a worker drains no more", "more workers drain no more"}
	// Who admits a worker says that, and a lease that is back follows a line soon.
	workerJoined    = &workerEvent{kind: "joined", one: "a process of the worker is up"}
	workerLeaseBack = &workerEvent{kind: "lease_back", one: "the worker has a lease again"}

	workerEvents = []*workerEvent{workerLost, workerSuperseded, workerLeft, workerLapsed, workerDrains, workerBack, workerRestarted, workerUndrained}
)

// workerLog says in the log what becomes of workers, each change once, and few
// lines when many change at once.
type workerLog struct {
	log *slog.Logger
	// kept has the events for who asks, with times of the clock.
	kept  workerHistory
	clock *clock.Clock

	mu   sync.Mutex
	seen map[string]workerSeen
	// lines were said in this window, held are what waits for its end; timer ends
	// it, nil between windows.
	lines   int
	held    map[*workerEvent][]string
	timer   *time.Timer
	stopped bool
}

// workerSeen is how a worker was seen last.
type workerSeen struct {
	incarnation string
	state       run.WorkerState
}

func newWorkerLog(log *slog.Logger, c *clock.Clock) *workerLog {
	return &workerLog{log: log, clock: c, seen: map[string]workerSeen{}, held: map[*workerEvent][]string{}}
}

// changed takes a change of a worker.
func (l *workerLog) changed(n run.WorkerChanged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	event := l.see(n.Worker.GetWorkerId(), workerSeen{n.Worker.GetIncarnation(), n.State}, n.Reason)
	if event == nil {
		return
	}
	l.keep(event, n)
	if event != workerJoined {
		l.add(event, n.Worker.GetWorkerId(), n.Worker.GetIncarnation())
	}
}

// keep notes an event for who asks.
func (l *workerLog) keep(event *workerEvent, n run.WorkerChanged) {
	l.kept.add(n.Worker.GetWorkerId(), &api.WorkerEvent{At: api.Moment(l.clock.Now()), Kind: event.kind, Incarnation: n.Worker.GetIncarnation(), Reason: n.Reason, Text: event.one, Address: n.Worker.GetAddress()})
}

// say takes what is news each time.
func (l *workerLog) say(event *workerEvent, id, incarnation string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(event, run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: id, Incarnation: incarnation}})
	if event != workerLeaseBack {
		l.add(event, id, incarnation)
	}
}

// add says an event, or holds it back. Called with mu held.
func (l *workerLog) add(event *workerEvent, id, incarnation string) {
	if l.stopped {
		return
	}
	if l.timer == nil {
		l.lines, l.timer = 0, time.AfterFunc(workerLinesIn, l.windowOver)
	}
	if l.lines < workerLinesMax {
		l.lines++
		l.log.Log(context.Background(), event.level, event.one, "worker", id, "incarnation", incarnation)
		return
	}
	l.held[event] = append(l.held[event], id)
}

// see notes a state; nil if it is no news.
func (l *workerLog) see(id string, now workerSeen, reason messages.Reason) *workerEvent {
	was, known := l.seen[id]
	if known && was == now || !known && len(l.seen) >= workersSeenMax {
		return nil
	}
	if known && was.state == run.WorkerGone && now.state == run.WorkerGone {
		return nil // why is known better now, and for the log it is the same
	}
	l.seen[id] = now
	switch {
	case now.state == run.WorkerGone:
		return goneBy(reason)
	case now.state == run.WorkerDraining:
		return workerDrains
	case !known:
		return workerJoined
	}
	return upAfter(was, now)
}

// goneBy is the event of a worker that is gone.
func goneBy(reason messages.Reason) *workerEvent {
	switch reason {
	case messages.Reason_REASON_WORKER_LEFT:
		return workerLeft
	case messages.Reason_REASON_WORKER_SUPERSEDED:
		return workerSuperseded
	}
	return workerLost
}

// upAfter is the event of one that is up and was seen before.
func upAfter(was, now workerSeen) *workerEvent {
	same := was.incarnation == now.incarnation
	switch {
	case was.state == run.WorkerGone && same:
		return workerBack
	case was.state == run.WorkerGone:
		return workerRestarted
	case was.state == run.WorkerDraining && same:
		return workerUndrained
	}
	return workerJoined
}

// windowOver says what was held. The next window begins at once if there was some.
func (l *workerLog) windowOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer = nil; l.stopped {
		return
	}
	l.sayHeld()
	if l.lines > 0 {
		l.timer = time.AfterFunc(workerLinesIn, l.windowOver)
	}
}

func (l *workerLog) sayHeld() {
	l.lines = 0
	for _, event := range workerEvents {
		if ids := l.held[event]; len(ids) > 0 {
			l.log.Log(context.Background(), event.level, event.many, "workers", len(ids), "among", ids[:min(len(ids), workerNamesMax)])
			l.lines++
		}
	}
	clear(l.held)
}

// stop says what was held, and nothing more.
func (l *workerLog) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped = true; l.timer != nil {
		l.timer.Stop()
	}
	l.sayHeld()
}
