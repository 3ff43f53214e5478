package sim

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// workload is what clients want done: workflows and how their steps behave.
type workload struct {
	byName map[string]*definition
	byHash map[string]*definition
	order  []*definition
	starts []string // workflows that clients start
	// receives: there are steps that wait for messages.
	receives bool
	// listens: there are steps that wait for events.
	listens bool
}

type definition struct {
	Def   *messages.WorkflowDefinition
	hash  string
	steps map[string]*behaviour
}

// behaviour says what the function of a step is like.
type behaviour struct {
	least, most time.Duration
	fails       float64
	final       float64
	kills       float64
	stubborn    float64
	loses       float64
	children    []child
	calls       int
	receives    int
	patience    time.Duration
	listens     []listening
	posts       int
	naps        []nap
	tells       int
	writes      int
	stream      string
	// continues is how likely its run is to go on as new.
	continues float64
}

type child struct {
	workflow      string
	sticky, leave bool
	// anew: a retried step gets another one if the earlier one has failed.
	// alone: the step does not wait for it.
	anew, alone bool
}

// plan is what one execution will do.
type plan struct {
	takes                                time.Duration
	fails, final, kills, stubborn, loses bool
	children                             []child
	calls, receives                      int
	patience                             time.Duration
	naps                                 []nap
	// tells is how often it tells its progress, writes how often it writes to its stream.
	tells, writes int
	stream        string
	// continues: the run is to go on as new.
	continues bool
}

// makesCalls says that the execution asks its run for something.
func (p *plan) makesCalls() bool {
	return len(p.children) > 0 || p.calls > 0 || p.receives > 0 || len(p.naps) > 0
}

func (s *Sim) planOf(d *messages.Dispatch) plan {
	b := s.work.byName[d.Workflow].steps[d.Step]
	p := plan{takes: s.dice.between(b.least, b.most), stubborn: s.dice.chance(b.stubborn), children: b.children, calls: b.calls, receives: b.receives, patience: b.patience, naps: b.naps, tells: b.tells, writes: b.writes, stream: b.stream}
	p.continues = s.monitor.runs[d.RunId].Continued < linksMost && s.goesOn.chance(b.continues)
	if s.faulty() {
		p.fails, p.kills = s.dice.chance(b.fails), !s.world.calm && s.dice.chance(b.kills)
		p.final = p.fails && s.dice.chance(b.final)
		p.loses = !p.fails && !s.world.calm && d.Sticky != messages.Sticky_STICKY_NONE && s.extra.chance(b.loses)
		s.holding.goesOn(d, &p)
	}
	return p
}

func (s *Sim) drawWorkload() {
	s.work = workload{byName: map[string]*definition{}, byHash: map[string]*definition{}}
	var children []string
	for i := range s.dice.upTo(2) {
		name := fmt.Sprintf("child%d", i)
		s.drawWorkflow(name, s.dice.upTo(2), nil)
		children = append(children, name)
	}
	for i := range s.dice.upTo(3) {
		name := fmt.Sprintf("flow%d", i)
		s.drawWorkflow(name, s.dice.upTo(s.world.stepsMost), children)
		s.work.starts = append(s.work.starts, name)
	}
}

func (s *Sim) drawWorkflow(name string, steps int, children []string) {
	d := s.dice
	def := &messages.WorkflowDefinition{Name: name, Sticky: messages.Sticky(d.IntN(3)), Priority: int32(d.IntN(4))}
	def.BusyPatienceMs = pick(d, []int64{0, messages.BusyPatienceNeverMs, messages.BusyPatienceAtOnceMs, 300, 2000})
	dd := &definition{Def: def, steps: map[string]*behaviour{}}
	stateful := def.Sticky != messages.Sticky_STICKY_NONE && s.extra.chance(0.6)
	if stateful {
		def.Locals = pick(s.extra, [][]*messages.LocalDefinition{nil, {{Name: "x", Handoff: true}}, {{Name: "x", Handoff: true}}, {{Name: "x", Handoff: true}, {Name: "y"}}})
	}
	for i := range steps {
		st := &messages.StepDefinition{Name: fmt.Sprintf("s%d", i), Retries: int32(d.IntN(3)), BackoffMs: int64(d.upTo(8000))}
		for j := range i {
			if d.chance(0.4) {
				st.Parents = append(st.Parents, fmt.Sprintf("s%d", j))
			}
		}
		// Where a worker takes few sticky runs, a parent and its child may wait for
		// each other. That has to end.
		st.ScheduleTimeoutMs = int64(6 * time.Minute / time.Millisecond)
		if d.chance(0.25) {
			st.ScheduleTimeoutMs = int64(1000 + d.IntN(20_000))
		}
		if d.chance(0.25) {
			st.ExecutionTimeoutMs = int64(500 + d.IntN(5000))
		}
		s.holding.limit(st)
		if d.chance(0.3) {
			st.LostAttemptsMax = int32(d.upTo(4))
		}
		if d.chance(0.1) {
			st.Labels = []*messages.LabelRule{{Key: "gpu", Value: "yes", Required: true}}
			if d.chance(0.5) {
				st.Labels[0].Required, st.Labels[0].Weight = false, 1
			}
		}
		def.Steps = append(def.Steps, st)
		dd.steps[st.Name] = s.drawBehaviour(children)
		if stateful {
			st.BuildsState, st.NeedsState = s.extra.chance(0.8-0.3*float64(min(i, 1))), i > 0 && s.extra.chance(0.7)
			dd.steps[st.Name].loses = pick(s.extra, []float64{0, 0, 0.1, 0.4})
		}
	}
	s.work.add(dd)
}

func (w *workload) add(dd *definition) {
	if err := messages.ValidateDefinition(dd.Def); err != nil {
		panic(err)
	}
	dd.hash = messages.HashDefinition(dd.Def)
	w.byName[dd.Def.Name], w.byHash[dd.hash] = dd, dd
	w.order = append(w.order, dd)
}

func (s *Sim) drawBehaviour(children []string) *behaviour {
	d := s.dice
	b := &behaviour{fails: pick(d, []float64{0, 0, 0.2, 0.7}), final: 0.1, stubborn: 0.1}
	switch d.IntN(4) {
	case 0:
		b.least, b.most = time.Millisecond, 20*time.Millisecond
	case 1:
		b.least, b.most = 20*time.Millisecond, 500*time.Millisecond
	case 2:
		b.least, b.most = 300*time.Millisecond, 3*time.Second
	case 3:
		b.least, b.most = time.Millisecond, 8*time.Second
	}
	if d.chance(0.1) {
		b.kills = pick(d, []float64{0.3, 1})
	}
	if len(children) > 0 && d.chance(0.25) {
		for range d.upTo(2) {
			name := pick(d, children)
			sticky := s.work.byName[name].Def.Sticky != messages.Sticky_STICKY_NONE && d.chance(0.6) || d.chance(0.05)
			b.children = append(b.children, child{name, sticky, d.chance(0.3), s.extra.chance(0.5), s.extra.chance(0.3)})
		}
	}
	return b
}

// workflowsOf are the workflows of a worker process: sometimes not all of them.
func (s *Sim) workflowsOf() []*messages.WorkflowDefinition {
	var list []*messages.WorkflowDefinition
	for _, d := range s.work.order {
		if !s.faulty() || !s.dice.chance(s.world.lacks) {
			list = append(list, d.Def)
		}
	}
	return list
}

// ---- clients -------------------------------------------------------------------

// client starts one run, perhaps cancels it, perhaps replays it.
type client struct {
	sim     *Sim
	runID   string
	def     *definition
	acked   bool
	replays int
	busy    bool
	// signals: the run is started with a message.
	signals bool
}

func (s *Sim) drawClients() {
	for i := range s.dice.upTo(s.world.runsMost) {
		c := &client{sim: s, runID: fmt.Sprintf("r%d", i), def: s.work.byName[pick(s.dice, s.work.starts)]}
		s.clients = append(s.clients, c)
		s.after(s.dice.between(0, s.world.trouble*2/3), c.start)
		if s.dice.chance(0.15) {
			s.after(s.dice.between(0, s.world.trouble), c.cancel)
		}
		if s.dice.chance(0.2) {
			c.replays = s.dice.upTo(2)
			s.after(s.dice.between(0, s.world.trouble), c.replay)
		}
	}
}

// door is the server that a client talks to.
func (s *Sim) door() *proc {
	var doors []*proc
	for _, p := range s.procs {
		if p.server != nil && p.alive && !p.frozen {
			doors = append(doors, p)
		}
	}
	if len(doors) == 0 {
		return nil
	}
	return pick(s.dice, doors)
}

// start asks until the run is acknowledged, sometimes once more.
func (c *client) start() {
	s := c.sim
	if c.acked && !s.dice.chance(0.1) {
		return
	}
	if p := s.door(); p != nil {
		msg := c.startMessage()
		if c.signals {
			msg.Signal = &messages.SignalRun{RunId: c.runID, Name: signalName, MessageId: "m", Payload: []byte(`"m"`)}
		}
		p.call(c.runID, 2*time.Second, func(sv *server, reply func(any)) {
			sv.start(msg, func(err error) { reply(messages.CodeOf(err)) })
		}, func(answer any) {
			switch code, ok := answer.(messages.Code); {
			case ok && code == "":
				s.tracef("%s is acknowledged", c.runID)
				c.acked = true
				s.must(s.monitor.acknowledged(c.runID))
				if c.signals {
					s.must(s.monitor.signalAcknowledged(c.runID, "m"))
				}
			case c.signals && code == messages.CodeRunFinished:
				// Another message has started the run.
				c.acked = true
				s.must(s.monitor.signalRefused(c.runID, "m"))
			}
		})
	}
	s.after(s.dice.between(time.Second, 3*time.Second), c.start)
}

func (c *client) startMessage() *messages.StartRun {
	return &messages.StartRun{RunId: c.runID, Start: &messages.RunStarted{Workflow: c.def.Def.Name, DefinitionHash: c.def.hash,
		Input: []byte("1"), Sticky: c.def.Def.Sticky, Trigger: "api", LocalKeys: c.sim.keysOf(c.runID)}}
}

// keysOf are the keys of shared state that a run asks for.
func (s *Sim) keysOf(runID string) map[string][]byte {
	if s.world.keys == 0 {
		return nil
	}
	return map[string][]byte{"model": fmt.Append(nil, hash(runID)%uint64(s.world.keys))}
}

func (c *client) cancel() {
	s := c.sim
	p := s.door()
	if !c.acked || p == nil {
		if s.faulty() {
			s.after(time.Second, c.cancel)
		}
		return
	}
	c.command(p, &messages.CancelRun{RunId: c.runID, Reason: "client", WithoutEndStep: s.ends.chance(0.3)}, func(code messages.Code) {
		if code != "" && code != messages.CodeRunFinished && (code != messages.CodeRunEnding || c.def.Def.EndStep() == nil) {
			s.fail("cancel of %s: %s", c.runID, code)
		}
	})
}

// replay waits for the run's end and lets it run again, wholly or in part.
func (c *client) replay() {
	s := c.sim
	p := s.door()
	if c.replays == 0 || !s.faulty() {
		return
	}
	s.after(s.dice.between(time.Second, 4*time.Second), c.replay)
	if c.busy || p == nil || !c.acked || !s.ended(c.runID) {
		return
	}
	c.replays--
	var steps []string
	if s.dice.chance(0.5) {
		steps = []string{pick(s.dice, c.def.Def.StepNames())}
	}
	c.command(p, &messages.ReplayRun{RunId: c.runID, Steps: steps}, func(code messages.Code) {
		if !slices.Contains([]messages.Code{"", messages.CodeRunNotFinished, messages.CodeInvalidArgument}, code) {
			s.fail("replay of %s: %s", c.runID, code)
		}
	})
}

// command asks the run's owner until it answers.
func (c *client) command(p *proc, msg proto.Message, done func(messages.Code)) {
	c.busy = true
	p.call(c.runID, 20*time.Second, func(sv *server, reply func(any)) {
		sv.deliver(c.runID, msg, asker(func(answer any) {
			if code := codeIn(answer); !code.Retryable() {
				reply(code)
			}
		}))
	}, func(answer any) {
		c.busy = false
		if code, ok := answer.(messages.Code); ok {
			done(code)
		}
	})
}
