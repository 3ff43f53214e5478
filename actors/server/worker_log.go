package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
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
	level slog.Level
	// one and many are what the log says of one and of several.
	one, many string
}

var (
	workerLost       = &workerEvent{slog.LevelWarn, "a worker is lost: its SOFT runs go on elsewhere, its HARD runs wait for it", "more workers are lost"}
	workerSuperseded = &workerEvent{slog.LevelWarn, "a worker is superseded: another process has its id", "more workers are superseded"}
	workerLeft       = &workerEvent{slog.LevelInfo, "a worker has left", "more workers have left"}
	workerDrains     = &workerEvent{slog.LevelInfo, "a worker drains", "more workers drain"}
	workerLapsed     = &workerEvent{slog.LevelWarn, "a worker had no lease for a time and has canceled what it ran: it reached no server, or got no processor", "more workers had no lease for a time"}
	workerBack       = &workerEvent{slog.LevelInfo, "a worker is back", "more workers are back"}
	workerUndrained  = &workerEvent{slog.LevelInfo, "a worker drains no more", "more workers drain no more"}

	workerEvents = []*workerEvent{workerLost, workerSuperseded, workerLeft, workerLapsed, workerDrains, workerBack, workerUndrained}
)

// workerLog says in the log what becomes of workers, each change once, and few
// lines when many change at once.
type workerLog struct {
	log *slog.Logger

	mu   sync.Mutex
	seen map[string]run.WorkerState
	// lines were said in this window, held are what waits for its end; timer ends
	// it, nil between windows.
	lines   int
	held    map[*workerEvent][]string
	timer   *time.Timer
	stopped bool
}

func newWorkerLog(log *slog.Logger) *workerLog {
	return &workerLog{log: log, seen: map[string]run.WorkerState{}, held: map[*workerEvent][]string{}}
}

// changed takes a change of a worker.
func (l *workerLog) changed(n run.WorkerChanged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if event := l.see(n.Worker.GetWorkerId(), n.State, n.Reason); event != nil {
		l.add(event, n.Worker.GetWorkerId(), n.Worker.GetIncarnation())
	}
}

// say takes what is news each time.
func (l *workerLog) say(event *workerEvent, id, incarnation string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(event, id, incarnation)
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

// see notes a state; nil if it is no news. That one comes up for the first time is
// said by who admits it.
func (l *workerLog) see(id string, now run.WorkerState, reason messages.Reason) *workerEvent {
	was, known := l.seen[id]
	if known && was == now || !known && len(l.seen) >= workersSeenMax {
		return nil
	}
	l.seen[id] = now
	switch {
	case now == run.WorkerGone && reason == messages.Reason_REASON_WORKER_LEFT:
		return workerLeft
	case now == run.WorkerGone && reason == messages.Reason_REASON_WORKER_SUPERSEDED:
		return workerSuperseded
	case now == run.WorkerGone:
		return workerLost
	case now == run.WorkerDraining:
		return workerDrains
	case known && was == run.WorkerGone:
		return workerBack
	case known && was == run.WorkerDraining:
		return workerUndrained
	}
	return nil
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
