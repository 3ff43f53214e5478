package load

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/sdk"
)

// Plan is the input of every run: what its steps are to do.
type Plan struct {
	// Number of the operation that wanted the run.
	Number uint64 `json:"number"`
	// SleepMs is how long each step sleeps, in the order of the shape; steps
	// beyond do not.
	SleepMs []int `json:"sleep_ms"`
	// Fails is how many first attempts of each step fail on purpose.
	Fails []int `json:"fails"`
	// Fatal is the number, from 1, of the step that fails for good; 0 is none.
	Fatal int `json:"fatal,omitempty"`
	// Child is the workflow that a spawning step spawns; StickyChild that it is
	// bound to the step's worker, KeepChild that it survives its parent.
	Child       string `json:"child,omitempty"`
	StickyChild bool   `json:"sticky_child,omitempty"`
	KeepChild   bool   `json:"keep_child,omitempty"`
	// Turns of a step that talks: calls, each followed by something that it waits for.
	Turns []turn `json:"turns,omitempty"`
	// PerLink is after how many turns the run goes on as new; 0 is never. From and Heard
	// are of a later link: its first turn, and what came in those before.
	PerLink int      `json:"per_link,omitempty"`
	From    int      `json:"from,omitempty"`
	Heard   []string `json:"heard,omitempty"`
	// Key of shared local state.
	Key string `json:"key,omitempty"`
	// StateLost is the number, from 1, of the step whose first attempt says that
	// its local state is lost; 0 is none.
	StateLost int `json:"state_lost,omitempty"`
	// BindFails says that local state fails to be built, once in each process;
	// Stays that it fails to be handed off, and its release does.
	BindFails bool `json:"bind_fails,omitempty"`
	Stays     bool `json:"stays,omitempty"`
}

// turn is what a step that talks waits for.
type turn string

const (
	// A message; a message or a time that is longer than any test; a message after a
	// sleep; an event of the cluster.
	turnReceive turn = "receive"
	turnFirst   turn = "first"
	turnSleep   turn = "sleep"
	turnEvent   turn = "event"
)

var turns = []turn{turnReceive, turnReceive, turnFirst, turnSleep, turnEvent}

// of is the i-th of a list that may be shorter.
func of(list []int, i int) int {
	if i < len(list) {
		return list[i]
	}
	return 0
}

// child is the plan of the child that a run with this one spawns.
func (p Plan) child() Plan {
	c := Plan{Number: p.Number}
	for i, ms := range p.SleepMs {
		c.SleepMs = append(c.SleepMs, ms/2)
		c.Fails = append(c.Fails, of(p.Fails, i))
	}
	return c
}

// shape is a workflow of the load.
type shape struct {
	name    string
	sticky  sdk.Sticky
	steps   []step
	onEvent string
	// private says that each run has local state, handoff that it can be handed
	// off; shared that runs with one key share local state.
	private, handoff, shared bool
	// ends says that it has an end step.
	ends bool
	// keepFor is how long steps that wait stay on their worker; 0 is the default.
	keepFor time.Duration
}

type step struct {
	name    string
	parents []string
	// spawns a child and waits for it; overruns its execution timeout in the
	// first attempt.
	spawns, overruns bool
	// talks makes calls and waits for messages.
	talks bool
	// builds local state; needs what those before have built.
	builds, needs bool
}

// Event keys that start runs.
const (
	eventOrder  = "chaos:order"
	eventPrefix = "chaos:*"
)

// Names of workflows that operations choose by.
const (
	chain, fan, parent, overrun, event, child = "chain", "fan", "parent", "overrun", "event", "child"
	state, hand, share, agent                 = "state", "hand", "share", "agent"
)

// keepFor of agents: some stay while they wait, others are suspended soon, so that both
// are met by faults.
var keepFor = map[sdk.Sticky]time.Duration{sdk.Soft: time.Second, sdk.Hard: 2 * time.Second}

// strategies by the suffix of a workflow's name.
var strategies = []struct {
	suffix string
	sticky sdk.Sticky
}{{"none", sdk.None}, {softSuffix, sdk.Soft}, {"hard", sdk.Hard}}

const softSuffix = "soft"

// stateful steps build local state, twice, and need it: both builders are
// executed again where it is not, and not what comes between.
var stateful = []step{
	{name: "open", builds: true},
	{name: "look", parents: []string{"open"}},
	{name: "warm", parents: []string{"look"}, builds: true, needs: true},
	{name: "use", parents: []string{"warm"}, needs: true},
	{name: "more", parents: []string{"use"}, needs: true},
}

// shapes are all workflows, by name.
var shapes = makeShapes()

func makeShapes() map[string]*shape {
	families := map[string][]step{
		chain: {{name: "a"}, {name: "b", parents: []string{"a"}}, {name: "c", parents: []string{"b"}}},
		fan: {
			{name: "root"},
			{name: "left", parents: []string{"root"}}, {name: "middle", parents: []string{"root"}}, {name: "right", parents: []string{"root"}},
			{name: "join", parents: []string{"left", "middle", "right"}},
		},
		parent:  {{name: "prepare"}, {name: "delegate", parents: []string{"prepare"}, spawns: true}, {name: "finish", parents: []string{"delegate"}}},
		overrun: {{name: "late", overruns: true}, {name: "after", parents: []string{"late"}}},
		event:   {{name: "take"}, {name: "give", parents: []string{"take"}}},
		child:   {{name: "first"}, {name: "second", parents: []string{"first"}}},
		agent:   {{name: "chat", talks: true}, {name: "sum", parents: []string{"chat"}}},
		state:   stateful,
		hand:    stateful,
		share:   {{name: "look"}, {name: "left", parents: []string{"look"}}, {name: "right", parents: []string{"look"}}},
	}
	all := map[string]*shape{}
	for family, steps := range families {
		for _, s := range strategies {
			name := family + "-" + s.suffix
			private := family == state || family == hand
			if private && s.sticky == sdk.None {
				continue
			}
			all[name] = &shape{name: name, sticky: s.sticky, steps: steps, private: private, handoff: family == hand, shared: family == share,
				ends: family == chain || family == parent || private}
			if family == agent {
				all[name].keepFor = keepFor[s.sticky]
			}
		}
	}
	all[event+"-none"].onEvent = eventOrder
	all[event+"-soft"].onEvent = eventOrder
	all[event+"-hard"].onEvent = eventPrefix
	return all
}

// triggered is how many workflows the event that the load pushes starts.
var triggered = func() int {
	n := 0
	for _, s := range shapes {
		if s.onEvent != "" {
			n++
		}
	}
	return n
}()

// shapeNames in a fixed order.
var shapeNames = func() []string {
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// value of a step: a function of the input and of the values of its parents
// and of its child.
func value(p Plan, workflow, step string, inputs ...string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s/%s", p.Number, workflow, step)
	for _, in := range inputs {
		_, _ = io.WriteString(h, "/"+in)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// want works out how a run of the shape has to end.
func (s *shape) want(p Plan) *verdict.Want {
	w := &verdict.Want{Values: map[string]string{}, Handoff: s.handoff, BindFails: p.BindFails}
	switch {
	case s.private:
		w.Private = privateLocal
	case s.shared:
		w.Shared, w.Key = sharedLocal, p.Key
	}
	doomed := map[string]bool{}
	for i, st := range s.steps {
		if st.overruns {
			w.Overruns = st.name
		}
		if st.builds {
			w.Builds = append(w.Builds, st.name)
		}
		if st.needs {
			w.Needs = append(w.Needs, st.name)
		}
		if p.Fatal == i+1 {
			w.Fails = st.name
			doomed[st.name] = true
			continue
		}
		var inputs []string
		for _, parent := range st.parents {
			doomed[st.name] = doomed[st.name] || doomed[parent]
			inputs = append(inputs, w.Values[parent])
		}
		if doomed[st.name] {
			continue
		}
		if st.talks {
			inputs = append(inputs, p.said()...)
		}
		if st.spawns {
			inputs = append(inputs, childValue(p))
		}
		w.Values[st.name] = value(p, s.name, st.name, inputs...)
	}
	return w
}

// said are the messages that a step that talks receives, in order.
func (p Plan) said() []string {
	var all []string
	for turn := range p.Turns {
		all = append(all, p.message(turn))
	}
	return all
}

func (p Plan) message(turn int) string { return fmt.Sprintf("%d/%d", p.Number, turn) }

// childValue is what the child of a run with the plan returns in the end.
func childValue(p Plan) string {
	s := shapes[p.Child]
	return s.want(p.child()).Values[s.steps[len(s.steps)-1].name]
}

// drawPlan draws what the steps of a shape do: most are short, some are long
// enough to be running when their worker dies.
func drawPlan(r *rand.Rand, s *shape, number uint64) Plan {
	p := Plan{Number: number}
	for range s.steps {
		sleep := 20 + r.IntN(180)
		switch n := r.IntN(100); {
		case n < 15:
			sleep = 500 + r.IntN(2500)
		case n < 18:
			// Longer than it takes to give a worker up.
			sleep = 3000 + r.IntN(4000)
		}
		fails := 0
		if r.IntN(100) < 8 {
			fails = 1 + r.IntN(2)
		}
		p.SleepMs, p.Fails = append(p.SleepMs, sleep), append(p.Fails, fails)
	}
	for i, st := range s.steps {
		if st.talks {
			for range 1 + r.IntN(4) {
				p.Turns = append(p.Turns, turns[r.IntN(len(turns))])
			}
			p.SleepMs[i] = min(p.SleepMs[i], 600)
			p.PerLink = int(number % 3)
		}
		if st.spawns {
			p.StickyChild = r.IntN(100) < 65
			p.Child = child + "-" + strategies[1+r.IntN(2)].suffix
			if !p.StickyChild {
				p.Child = child + "-" + strategies[r.IntN(3)].suffix
			}
			p.KeepChild = r.IntN(100) < 20
			return p
		}
	}
	if r.IntN(100) < 4 {
		p.Fatal, p.PerLink = 1+r.IntN(len(s.steps)), 0
	}
	if s.private {
		if r.IntN(100) < 12 {
			p.StateLost = 1 + r.IntN(len(s.steps))
		}
		p.BindFails, p.Stays = r.IntN(100) < 8, r.IntN(100) < 15
	}
	if s.shared {
		// Of few keys, and some of them often.
		p.Key = fmt.Sprintf("key-%d", min(r.IntN(keysMost), r.IntN(keysMost)))
	}
	return p
}

const (
	// retriesMost is more than a plan's Fails.
	retriesMost = 3
	// keysMost are the keys of shared local state.
	keysMost = 12
	// stateRetries: state may fail to be built in every process that a run
	// comes to.
	stateRetries   = 60
	retryAfter     = 50 * time.Millisecond
	retryAfterMost = 400 * time.Millisecond
	// overrunTimeout is the execution timeout of a step that overruns, once.
	overrunTimeout = time.Second
	// overrunRetries: a frozen worker may make it overrun again.
	overrunRetries = 50
	// lossesMost: a chaos test strikes a step more often than the default.
	lossesMost = 100
)
