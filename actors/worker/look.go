package worker

import (
	"context"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"
)

// Who works while a goroutine of a step waits.
//
// A function that waits for a child or for a signal gives its slot back. It may also
// have goroutines of its own wait, and go on: then it keeps the slot, until it has
// nothing to do but to wait for them. It does not say when that is, so it is looked
// at.
//
//	the function     It works, unless it waits so itself, or is blocked on a channel,
//	                 a lock or a group. A sleep counts as work, and so does a wait
//	                 for the network, for local state or for an answer of its run.
//	its goroutines   They work while they compute. What they wait for does not
//	                 matter: many sleep, or read from a connection, to no end.
//
// Goroutines are told apart by a label of the profiler, which one goroutine inherits
// from another. Functions are looked at only while a goroutine of theirs waits; one
// that changes its mind is believed when it was seen so looksAgree times in a row.

const (
	// attemptLabel has the number of the function.
	attemptLabel = "limpet_attempt"
	// The pause before a look, which doubles from lookFirst to lookMost, is lookShare
	// times the cost of the last one at least.
	lookFirst = 5 * time.Millisecond
	lookMost  = 250 * time.Millisecond
	lookShare = 30
	// looksAgree: what is blocked or at work for a moment is not so for good.
	looksAgree = 2
)

// labelled has the goroutine, and those that it starts, carry the number of a
// function; unlabelled takes that back. The function is to use the context.
func labelled(ctx context.Context, id uint64) context.Context {
	ctx = pprof.WithLabels(ctx, pprof.Labels(attemptLabel, strconv.FormatUint(id, 10)))
	pprof.SetGoroutineLabels(ctx)
	return ctx
}

func unlabelled() { pprof.SetGoroutineLabels(context.Background()) }

// looker looks at functions of which goroutines wait.
type looker struct {
	// hurry has something when the next look is to come soon.
	hurry chan struct{}

	mu      sync.Mutex
	calls   map[uint64]*attemptCalls // by the number of the function
	running bool
}

func newLooker() *looker {
	return &looker{hurry: make(chan struct{}, 1), calls: map[uint64]*attemptCalls{}}
}

// look says whether a function is to be looked at from now on.
func (l *looker) look(c *attemptCalls, wanted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !wanted {
		delete(l.calls, c.id)
		return
	}
	l.calls[c.id] = c
	if !l.running {
		l.running = true
		go l.run()
	}
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// run looks until there is nobody to look at.
func (l *looker) run() {
	unlabelled() // It may have begun on a function's.
	pause, most, least := lookFirst, lookMost, time.Duration(0)
	for {
		timer := time.NewTimer(max(pause, least))
		select {
		case <-timer.C:
			pause = min(2*pause, most)
		case <-l.hurry:
			timer.Stop()
			pause = lookFirst
			time.Sleep(max(pause, least))
		}
		calls := l.all()
		if calls == nil {
			return
		}
		began := time.Now()
		works := functionsAtWork()
		if works == nil {
			// Nothing was seen. All go on as they do.
			calls = nil
		}
		settled := true
		for _, c := range calls {
			c.seen(works[c.id])
			settled = settled && c.settled()
		}
		if most = lookMost; settled {
			most = lookIdle
		}
		least = lookShare * time.Since(began)
	}
}

// all are the functions to look at. If there is none the looking has ended.
func (l *looker) all() (calls []*attemptCalls) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		calls = append(calls, c)
	}
	l.running = calls != nil
	return calls
}

// ---- goroutines ----------------------------------------------------------------

// The frames by which goroutines are known: runFrame is below a function, the name
// of one above it that asks for something begins with callFrame, of one that gives its
// slot back for it with awaitFrame.
var (
	thisPackage = reflect.TypeFor[attemptActor]().PkgPath()
	runFrame    = thisPackage + ".(*attemptActor).run"
	callFrame   = thisPackage + ".(*attemptCalls)."
	awaitFrame  = callFrame + "Await"
)

// inFunction says that the caller is the goroutine of a function, and not one that
// this has started.
func inFunction() bool {
	pcs := make([]uintptr, 64)
	n := runtime.Callers(2, pcs)
	for ; n == len(pcs); n = runtime.Callers(2, pcs) {
		pcs = make([]uintptr, 2*n)
	}
	frames := runtime.CallersFrames(pcs[:n])
	for {
		frame, more := frames.Next()
		if frame.Function == runFrame {
			return true
		}
		if !more {
			return false
		}
	}
}
