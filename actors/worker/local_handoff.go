package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/messages"
)

const (
	// handOffWithin is how long hooks may take if the run does not say.
	handOffWithin = 30 * time.Second
	// keysOfMax bounds the questions for keys that are answered at once; more
	// are not answered.
	keysOfMax = 8
)

type handoffID struct {
	run   string
	epoch uint64
}

// handoffRequest is who asked for a hand-off last, under which lease of the
// worker, and what they left for it.
type handoffRequest struct {
	to     *actor.PID
	lease  context.Context
	within time.Duration
}

// handOff begins to hand off the state of a run, or answers as before.
func (l *localShell) handOff(lease context.Context, m *messages.HandOff) {
	within := time.Duration(m.WithinMs) * time.Millisecond
	if within <= 0 {
		within = handOffWithin
	}
	l.with(func(now time.Time) []local.Action {
		l.handoffs[handoffID{m.RunId, m.Epoch}] = &handoffRequest{actorOf(m.ReplyAddress, m.ReplyActorId), lease, within}
		return l.keeper.HandOff(now, m.RunId, m.Epoch)
	})
}

// handOffValues calls the hooks of a run. Called with mu held.
func (l *localShell) handOffValues(act local.Action) {
	run, epoch := act.Run, act.Epoch
	request := l.handoffs[handoffID{run, epoch}]
	ctx, cancel := context.WithTimeout(request.lease, request.within)
	gathering := &handoffGathering{states: make([]*messages.HandedState, len(act.Values)), faults: make([]string, len(act.Values))}
	var hooks sync.WaitGroup
	for i, v := range act.Values {
		gathering.faults[i] = fmt.Sprintf("local %q: its hook has not returned in time", v.Local)
		value := l.values[v.Value]
		hooks.Go(func() {
			gathering.put(i, v.Local, callHandoff(ctx, value))
			l.with(func(now time.Time) []local.Action { return l.keeper.HandOffReturned(now, v.Value) })
		})
	}
	all := make(chan struct{})
	go func() {
		hooks.Wait()
		close(all)
	}()
	go func() {
		defer cancel()
		select {
		case <-all:
		case <-ctx.Done():
		}
		states, faults := gathering.close()
		l.with(func(now time.Time) []local.Action { return l.keeper.HandOffEnded(now, run, epoch, states, faults) })
		// Without an answer if the run was released meanwhile.
		l.forgetRequest(handoffID{run, epoch})
	}()
}

// callHandoff calls the hook of a value.
func callHandoff(ctx context.Context, v *localValue) (out handoffOutcome) {
	out.data, out.err = calling(v.kind, "handoff", messages.CodeStateNotBuilt, 0, func() ([]byte, error) { return v.kind.Handoff(ctx, v.value) })
	return out
}

type handoffOutcome struct {
	data []byte
	err  error
}

// handoffGathering is what hooks have given so far.
type handoffGathering struct {
	mu     sync.Mutex
	closed bool
	states []*messages.HandedState
	faults []string
}

func (g *handoffGathering) put(i int, name string, out handoffOutcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
	case out.err != nil:
		g.faults[i] = usercode.Truncate(out.err.Error(), messages.FailureMessageBytesMax)
	default:
		g.states[i], g.faults[i] = &messages.HandedState{Local: name, Data: out.data}, ""
	}
}

// close returns what came in time.
func (g *handoffGathering) close() (states []*messages.HandedState, faults []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for i, s := range g.states {
		if s != nil {
			states = append(states, s)
		}
		if g.faults[i] != "" {
			faults = append(faults, g.faults[i])
		}
	}
	return states, faults
}

// handedOff sends the answer to whoever asked last. Called with mu held.
func (l *localShell) handedOff(act local.Action) {
	id := handoffID{act.Run, act.Epoch}
	if request := l.handoffs[id]; request != nil && request.to != nil {
		l.worker.root.RequestWithCustomSender(request.to, act.Answer, l.worker.pid)
	}
	delete(l.handoffs, id)
	l.worker.root.Send(l.worker.pid, handOffAnswered{act.Run})
}

func (l *localShell) forgetRequest(id handoffID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.handoffs, id)
}

// handOffAnswered tells the worker's actor that the state of a run was sent.
type handOffAnswered struct{ runID string }

// answerKeys tells whoever asks which keys of shared values runs with some
// inputs use.
func (l *localShell) answerKeys(to *actor.PID, m *messages.LocalKeysOf) {
	if to == nil {
		return
	}
	select {
	case l.keysOf <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-l.keysOf }()
		l.worker.root.Send(to, l.keysFor(l.worker.cfg.Locals[m.Workflow], m.Inputs))
	}()
}

// keysFor has one for each input, an empty one where a Key function failed, and
// after one that has not returned in time.
func (l *localShell) keysFor(locals map[string]*attempt.Local, inputs [][]byte) *messages.LocalKeysReply {
	reply := &messages.LocalKeysReply{}
	deadline := time.Now().Add(l.methodWithin)
	for _, input := range inputs {
		keys := &messages.LocalKeys{}
		for name, kind := range locals {
			if !kind.Shared() || time.Now().After(deadline) {
				continue
			}
			key, err := l.keyOf(kind, input)
			if err != nil {
				keys.Keys = nil
				break
			}
			if keys.Keys == nil {
				keys.Keys = map[string][]byte{}
			}
			keys.Keys[name] = []byte(key)
		}
		reply.Keys = append(reply.Keys, keys)
	}
	return reply
}
