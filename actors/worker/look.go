package worker

import (
	"bytes"
	"context"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
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
	pause, least := lookFirst, time.Duration(0)
	for {
		timer := time.NewTimer(max(pause, least))
		select {
		case <-timer.C:
			pause = min(2*pause, lookMost)
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
		for _, c := range calls {
			c.seen(works[c.id])
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

// functionsAtWork are the functions that work, by their number.
func functionsAtWork() map[uint64]bool {
	var profile bytes.Buffer
	// A buffer takes all.
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	works := map[uint64]bool{}
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if id, g := readGoroutine(group); id != 0 && g.works() {
			works[id] = true
		}
	}
	return works
}

// goroutine is what the profile says of one: the innermost function, and those that
// it shows, from the innermost one out: none of the runtime's before another one.
type goroutine struct {
	leaf   string
	frames []string
}

// readGoroutine reads a group of the profile: its count and the addresses of the
// frames, the labels, and a line for each frame. It is of the function with the
// number, or of none if that is 0.
func readGoroutine(group string) (id uint64, g goroutine) {
	_, labels, ok := strings.Cut(group, "\n# labels: {")
	if !ok {
		return 0, g
	}
	labels, frames, _ := strings.Cut(labels, "\n")
	_, value, ok := strings.Cut(labels, strconv.Quote(attemptLabel)+`:"`)
	if !ok {
		return 0, g
	}
	value, _, _ = strings.Cut(value, `"`)
	id, _ = strconv.ParseUint(value, 10, 64)
	_, addresses, _ := strings.Cut(group, "@ 0x")
	if end := strings.IndexAny(addresses, " \n"); end > 0 {
		pc, _ := strconv.ParseUint(addresses[:end], 16, 64)
		if f := runtime.FuncForPC(uintptr(pc)); f != nil {
			g.leaf = f.Name()
		}
	}
	for line := range strings.SplitSeq(frames, "\n") {
		// #	0x51d270	package.function+0xb0	package/file.go:851
		if fields := strings.Split(line, "\t"); len(fields) > 2 {
			name, _, _ := strings.Cut(fields[2], "+0x")
			g.frames = append(g.frames, name)
		}
	}
	return id, g
}

// has says that the name of a frame begins so.
func (g goroutine) has(prefix string) bool {
	return slices.ContainsFunc(g.frames, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// works says that a goroutine of a function is at work.
func (g goroutine) works() bool {
	if len(g.frames) == 0 || g.has(awaitFrame) {
		return false
	}
	innermost := g.frames[0]
	if g.has(runFrame) {
		// Not parked, or by what will wake it without its goroutines.
		return g.leaf != "runtime.gopark" || innermost == "time.Sleep" || innermost == "internal/poll.runtime_pollWait" || g.has(callFrame)
	}
	// In code of its own: what is in the runtime waits, unless it was just stopped
	// there. So does what is in a call of the system.
	computes := !strings.HasPrefix(g.leaf, "runtime.") || strings.HasPrefix(g.leaf, "runtime.asyncPreempt")
	return computes && !strings.Contains(innermost, "syscall")
}
