package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// The keys of shared local state that a run's input asks for are known to the
// worker's code alone. A server asks one live worker for them before a run
// starts, so that placement can prefer a worker that holds the values. A run
// that gets no answer in time starts without, and is placed as any other.

const (
	// keysWithin is how long a start waits for the keys of its runs, keysEach
	// the more for each run.
	keysWithin = 300 * time.Millisecond
	keysEach   = 100 * time.Microsecond
	// keysHedge is after how long another worker is asked as well.
	keysHedge = 100 * time.Millisecond
	// keysSilentFor is how long a worker that did not answer is not asked, if
	// there is another one.
	keysSilentFor = 5 * time.Second
	// keysPart and keysPartBytes bound one question; an input that is larger
	// goes alone.
	keysPart      = 100
	keysPartBytes = 1 << 20
	// keyAskersMax is for how many versions of workflows a server remembers whom
	// to ask.
	keyAskersMax = 1000
)

// keyAskers are those who ask workers for keys, by hash of the definition. The
// zero value is ready.
type keyAskers struct {
	mu     sync.Mutex
	byHash *simplelru.LRU[string, *keyAsker]
}

func (k *keyAskers) of(h *Host, def *definitions.Definition) *keyAsker {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byHash == nil {
		// The only error is of a size below one.
		k.byHash, _ = simplelru.NewLRU[string, *keyAsker](keyAskersMax, nil)
	}
	a, known := k.byHash.Get(def.Hash)
	if !known {
		a = &keyAsker{host: h, def: def.Def, silent: map[string]time.Time{}}
		k.byHash.Add(def.Hash, a)
	}
	return a
}

// withLocalKeys returns the runs with the keys of shared local state that their
// inputs ask for, as far as a worker says in time. What is given is not changed.
func (e *Engine) withLocalKeys(ctx context.Context, runs []*messages.StartRun) []*messages.StartRun {
	calls := map[*keyAsker]*keyCall{}
	for i, r := range runs {
		def, err := e.host.definitions.ByHash(ctx, r.GetStart().GetDefinitionHash())
		if err != nil || !sharesLocals(def.Def) || len(r.Start.LocalKeys) > 0 || r.Cancel != nil {
			continue
		}
		asker := e.keys.of(e.host, def)
		if calls[asker] == nil {
			calls[asker] = &keyCall{keys: map[int]map[string][]byte{}, done: make(chan struct{})}
		}
		calls[asker].runs = append(calls[asker].runs, i)
	}
	if len(calls) == 0 {
		return runs
	}
	ctx, cancel := context.WithTimeout(ctx, keysWithin+time.Duration(len(runs))*keysEach)
	defer cancel()
	for asker, call := range calls {
		asker.ask(call, runs)
	}
	out := slices.Clone(runs)
	for _, call := range calls {
		for i, keys := range call.wait(ctx) {
			out[i] = proto.CloneOf(runs[i])
			out[i].Start.LocalKeys = keys
		}
	}
	return out
}

func sharesLocals(def *messages.WorkflowDefinition) bool {
	return slices.ContainsFunc(def.GetLocals(), (*messages.LocalDefinition).GetShared)
}

// keyCall is one start of runs of a workflow.
type keyCall struct {
	runs []int // indexes

	mu   sync.Mutex
	keys map[int]map[string][]byte // by index; nil once nobody waits
	left int
	done chan struct{}
}

// wait returns what has been said when all is said, or the context ends.
func (c *keyCall) wait(ctx context.Context) map[int]map[string][]byte {
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := c.keys
	c.keys = nil
	return keys
}

func (c *keyCall) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys == nil
}

func (c *keyCall) answer(i int, keys map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys != nil && len(keys) > 0 {
		c.keys[i] = keys
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// keyAsker asks for the runs of one version of a workflow, one question at a
// time; what comes meanwhile goes into the next one.
type keyAsker struct {
	host *Host
	def  *messages.WorkflowDefinition

	mu     sync.Mutex
	queue  []keyQuestion
	asking bool
	// last is the worker that answered, silent those that did not, by
	// incarnation, and when.
	last   string
	silent map[string]time.Time
}

type keyQuestion struct {
	call  *keyCall
	index int
	input []byte
}

func (a *keyAsker) ask(call *keyCall, runs []*messages.StartRun) {
	call.left = len(call.runs)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range call.runs {
		a.queue = append(a.queue, keyQuestion{call, i, runs[i].Start.Input})
	}
	if !a.asking {
		a.asking = true
		a.host.background(a.run)
	}
}

func (a *keyAsker) run() {
	for {
		part := a.take()
		if len(part) == 0 {
			return
		}
		keys := make([]map[string][]byte, len(part))
		_ = a.host.guard.Do(func() error {
			for i, reply := range a.request(part) {
				keys[i] = a.valid(reply.GetKeys())
			}
			return nil
		})
		for i, q := range part {
			q.call.answer(q.index, keys[i])
		}
	}
}

// take returns the next questions that somebody still waits for; none ends the
// asking.
func (a *keyAsker) take() []keyQuestion {
	a.mu.Lock()
	defer a.mu.Unlock()
	var part []keyQuestion
	size := 0
	for len(a.queue) > 0 && len(part) < keysPart {
		q := a.queue[0]
		if !q.call.over() {
			if size += len(q.input); size > keysPartBytes && len(part) > 0 {
				break
			}
			part = append(part, q)
		}
		a.queue = a.queue[1:]
	}
	if len(part) == 0 {
		a.asking, a.queue = false, nil
	}
	return part
}

// valid drops what is no key of a shared value of the workflow.
func (a *keyAsker) valid(keys map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, l := range a.def.GetLocals() {
		if key, ok := keys[l.GetName()]; ok && l.GetShared() && len(key) <= messages.LocalKeyBytesMax {
			out[l.GetName()] = key
		}
	}
	return out
}

// request asks a worker, and another one if that takes long; nil if none
// answers.
func (a *keyAsker) request(part []keyQuestion) []*messages.LocalKeys {
	m := &messages.LocalKeysOf{Workflow: a.def.GetName()}
	for _, q := range part {
		m.Inputs = append(m.Inputs, q.input)
	}
	workers := a.candidates(2)
	ctx, cancel := context.WithTimeout(a.host.ctx, keysWithin)
	defer cancel()
	type answer struct {
		from string
		keys []*messages.LocalKeys
	}
	answers := make(chan answer, len(workers))
	hedge := time.NewTimer(keysHedge)
	defer hedge.Stop()
	asked, open := 0, 0
	next := func() {
		if asked == len(workers) {
			return
		}
		info := workers[asked]
		asked, open = asked+1, open+1
		go func() {
			reply, _ := a.host.cfg.Node.Request(ctx, actor.NewPID(info.GetAddress(), info.GetActorId()), m)
			keys, _ := reply.(*messages.LocalKeysReply)
			answers <- answer{info.GetIncarnation(), keys.GetKeys()}
		}()
	}
	for next(); open > 0; {
		select {
		case <-hedge.C:
			next()
		case got := <-answers:
			open--
			ok := len(got.keys) == len(part)
			a.note(got.from, ok)
			if ok {
				return got.keys
			}
			if ctx.Err() == nil {
				next()
			}
		}
	}
	return nil
}

func (a *keyAsker) note(incarnation string, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answered {
		a.last = incarnation
		delete(a.silent, incarnation)
		return
	}
	for old, at := range a.silent {
		if time.Since(at) > keysSilentFor {
			delete(a.silent, old)
		}
	}
	a.silent[incarnation] = time.Now()
}

// candidates are live workers that serve the workflow, at most so many: the one
// that answered last first, those that did not answer of late last.
func (a *keyAsker) candidates(most int) []*messages.WorkerInfo {
	all := a.host.roster.Workers()
	all = slices.DeleteFunc(all, func(w roster.WorkerStatus) bool {
		return w.State == run.WorkerGone || w.Info == nil || messages.EffectivePool(w.Info.GetPool()) != a.def.EffectivePool() || !run.HasSteps(w.Info, a.def)
	})
	a.mu.Lock()
	rank := func(w roster.WorkerStatus) int {
		switch at, silent := a.silent[w.Incarnation]; {
		case silent && time.Since(at) < keysSilentFor:
			return 3
		case w.Incarnation == a.last:
			return 0
		case w.State == run.WorkerUp:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(x, y roster.WorkerStatus) int { return rank(x) - rank(y) })
	a.mu.Unlock()
	var out []*messages.WorkerInfo
	for _, w := range all[:min(most, len(all))] {
		out = append(out, w.Info)
	}
	return out
}
