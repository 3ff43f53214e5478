package run

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/messages"
)

// TestFoldIsLiveState throws random inputs at a machine, sensible ones and
// others, and checks after each that its entries fold to its live state, that
// all invariants hold, that no more is sent than there is room for, and that its
// timer does not fire again and again.
func TestFoldIsLiveState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &property{t: t, def: drawDefinition(t), now: scriptEpoch, slots: rapid.IntRange(0, 3).Draw(t, "slots")}
		p.m = New(scriptRun, p.def, p.config())
		p.folded = NewState(scriptRun, p.def)
		p.handle(p.start())
		for range rapid.IntRange(1, 60).Draw(t, "inputs") {
			p.next()
		}
		p.finish()
	})
}

type property struct {
	t   *rapid.T
	def *messages.WorkflowDefinition
	m   *Machine
	now time.Time
	// clock is what the server's clock is off by.
	clock    time.Duration
	timer    time.Time
	inFlight *Append
	stored   [][]byte
	folded   *State
	asked    []*messages.Place
	stopped  bool
	slots    int // of each worker, as far as the server knows
}

func (p *property) config() *Config {
	return &Config{InfoOf: func(*messages.WorkerRef) *messages.WorkerInfo { return &messages.WorkerInfo{Slots: int32(p.slots)} }}
}

// hasRoom checks that an entry sends no more than the worker has slots.
func (p *property) hasRoom(e *messages.Entry) {
	sends := slices.ContainsFunc(e.Events, func(ev *messages.Event) bool { return ev.GetStepDispatched() != nil })
	live, s := 0, p.m.State()
	for i := range s.Steps {
		if s.Steps[i].Phase == Live && !p.m.contacts[i].waitingChild {
			live++
		}
	}
	if sends && s.isSticky() && live > max(2, p.slots) {
		p.t.Fatalf("%d attempts are live on a worker with %d slots", live, p.slots)
	}
}

func drawDefinition(t *rapid.T) *messages.WorkflowDefinition {
	def := &messages.WorkflowDefinition{Name: "wf", Sticky: messages.Sticky(rapid.IntRange(0, 2).Draw(t, "sticky")),
		BusyPatienceMs: rapid.SampledFrom([]int64{0, -1, -2, 500}).Draw(t, "patience")}
	for i := range rapid.IntRange(1, 5).Draw(t, "steps") {
		st := &messages.StepDefinition{Name: string(rune('a' + i)), Retries: int32(rapid.IntRange(0, 2).Draw(t, "retries")),
			ScheduleTimeoutMs:  rapid.SampledFrom([]int64{0, -1, 3000}).Draw(t, "schedule"),
			ExecutionTimeoutMs: rapid.SampledFrom([]int64{0, -1, 3000}).Draw(t, "execution"),
			LostAttemptsMax:    int32(rapid.IntRange(0, 2).Draw(t, "losses"))}
		if def.Sticky != messages.Sticky_STICKY_NONE {
			if rapid.IntRange(0, 3).Draw(t, "local") == 0 {
				def.Locals = []*messages.LocalDefinition{{Name: "x", Handoff: rapid.Bool().Draw(t, "handoff")}}
			}
			st.BuildsState, st.NeedsState = rapid.Bool().Draw(t, "builds"), rapid.Bool().Draw(t, "needs")
		}
		for j := range i {
			if rapid.Bool().Draw(t, "parent") {
				st.Parents = append(st.Parents, string(rune('a'+j)))
			}
		}
		def.Steps = append(def.Steps, st)
	}
	return def
}

func (p *property) start() Input {
	started := &messages.RunStarted{Workflow: "wf", Sticky: p.def.Sticky}
	if rapid.IntRange(0, 3).Draw(p.t, "child") == 0 && p.def.Sticky != messages.Sticky_STICKY_NONE {
		started.BindTo = workerRef("w1")
	}
	return Start{Started: started, Token: "start"}
}

// next draws what happens.
func (p *property) next() {
	t := p.t
	switch rapid.IntRange(0, 15).Draw(t, "what") {
	case 0, 1, 2:
		p.pass(time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond)
	case 3:
		p.pass(time.Duration(rapid.IntRange(1, 400).Draw(t, "s")) * time.Second)
	case 4:
		if p.inFlight != nil {
			p.conflict()
			return
		}
		p.restore()
	case 5, 6:
		p.durable()
	default:
		p.handle(p.input())
	}
}

func (p *property) worker() *messages.WorkerRef {
	return workerRef(fmt.Sprintf("w%d~i%d", rapid.IntRange(1, 3).Draw(p.t, "worker"), rapid.IntRange(1, 2).Draw(p.t, "incarnation")))
}

func (p *property) input() Input {
	t := p.t
	switch rapid.IntRange(0, 14).Draw(t, "input") {
	case 0, 1:
		if n := len(p.asked); n > 0 {
			q := p.asked[max(0, n-rapid.IntRange(1, 3).Draw(t, "question"))]
			return Placed{&messages.Placed{RunId: scriptRun, Question: q.Question, Step: q.Step, GrantId: 1, Worker: p.worker()}}
		}
		return PlacementReset{}
	case 12:
		if n := len(p.asked); n > 0 {
			return PlaceWaiting{&messages.PlaceWaiting{Question: p.asked[n-1].Question, Step: p.asked[n-1].Step, Stay: rapid.Bool().Draw(t, "stay")}}
		}
		return PlacementReset{}
	case 13:
		h := &messages.HandedOff{Epoch: p.m.State().Epoch - uint64(rapid.IntRange(0, 1).Draw(t, "old"))}
		if rapid.Bool().Draw(t, "failed") {
			h.Failure = &messages.Failure{Code: "USER_ERROR"}
		}
		return FromWorker{h}
	case 2:
		return WorkerChanged{Worker: p.someWorker(), State: WorkerState(rapid.IntRange(1, 3).Draw(t, "state")), Reason: messages.Reason_REASON_WORKER_LOST,
			Info: infoOf(p.def, rapid.SampledFrom([]words{{}, {}, {}, newWords("x lacking=a"), newWords("x lacking-workflow")}).Draw(t, "has"))}
	case 3:
		if rapid.IntRange(0, 3).Draw(t, "cancel") == 0 {
			return Cancel{Reason: "enough", Token: "cancel"}
		}
		return Replay{Token: "replay", Steps: rapid.SampledFrom([][]string{nil, {"a"}, {"nosuch"}}).Draw(t, "steps")}
	case 4:
		step, n := p.attempt()
		return Spawn{Token: "spawn", Hash: "ch", OnWorker: true, Def: &messages.WorkflowDefinition{Name: "child"},
			Message: &messages.SpawnChild{Step: step, Attempt: n, Epoch: p.epochOf(step), Key: "k", Workflow: "child"}}
	case 5:
		id := messages.RunIDForChild(scriptRun, "a", "k")
		if rapid.Bool().Draw(t, "canceled") {
			return ChildCanceled{id}
		}
		return ChildStarted{ChildRun: id}
	}
	return FromWorker{p.fromWorker()}
}

// someWorker is often the one that the run is bound to.
func (p *property) someWorker() *messages.WorkerRef {
	if b := p.m.State().Binding; b.Worker != nil && rapid.IntRange(0, 3).Draw(p.t, "bound") > 0 {
		return b.Worker
	}
	return p.worker()
}

func (p *property) attempt() (string, int32) {
	st := &p.m.State().Steps[rapid.IntRange(0, len(p.def.Steps)-1).Draw(p.t, "step")]
	return st.Def.Name, max(1, st.Attempt-int32(rapid.IntRange(0, 1).Draw(p.t, "older")))
}

func (p *property) epochOf(step string) uint64 { return p.m.State().Step(step).Epoch }

// refusals are the reasons for which a worker refuses a dispatch.
var refusals = []messages.Reason{
	messages.Reason_REASON_WORKER_DRAINING, messages.Reason_REASON_STEP_GONE, messages.Reason_REASON_REVOKED,
	messages.Reason_REASON_WORKER_SUPERSEDED, messages.Reason_REASON_ENDED, messages.Reason_REASON_HANDED_OFF,
}

func (p *property) fromWorker() proto.Message {
	t := p.t
	step, n := p.attempt()
	switch rapid.IntRange(0, 7).Draw(t, "message") {
	case 0:
		return &messages.Queued{Step: step, Attempt: n, Ahead: 1, Slots: 1}
	case 1:
		return &messages.Started{Step: step, Attempt: n, StartedUs: p.now.UnixMicro(), WaitingForChild: rapid.Bool().Draw(t, "waits")}
	case 2:
		return &messages.Revoked{Step: step, Attempt: n}
	case 3:
		return &messages.DispatchRefused{Step: step, Attempt: n, Reason: rapid.SampledFrom(refusals).Draw(t, "reason")}
	case 4:
		return &messages.AttemptUnknown{Step: step, Attempt: n}
	}
	st := p.m.State().Step(step)
	r := &messages.Result{Step: step, Attempt: n, Epoch: st.Epoch, WorkerId: st.Worker.GetWorkerId(), Incarnation: st.Worker.GetIncarnation(),
		StartedUs: p.now.UnixMicro(), Outcome: &messages.Result_Output{Output: []byte(step)}}
	if rapid.Bool().Draw(t, "fails") {
		r.Outcome = &messages.Result_Failure{Failure: &messages.Failure{Code: rapid.SampledFrom([]string{"USER_ERROR", "STATE_LOST"}).Draw(t, "code"), Final: rapid.Bool().Draw(t, "final")}}
		r.Canceled = rapid.IntRange(0, 3).Draw(t, "canceled") == 0
	}
	return r
}

// timersMost is how often timers may fire at one time.
const timersMost = 20

func (p *property) pass(d time.Duration) {
	end := p.now.Add(d)
	fired := 0
	for !p.timer.IsZero() && !p.timer.After(end) && p.inFlight == nil {
		if p.timer.After(p.now) {
			p.now, fired = p.timer, 0
		}
		p.timer = time.Time{}
		p.handle(TimerDue{})
		if fired++; fired > timersMost {
			p.t.Fatalf("the timer fired %d times at %v", fired, p.now.Sub(scriptEpoch))
		}
	}
	p.now = end
}

func (p *property) handle(in Input) {
	if p.stopped {
		p.restore()
	}
	for _, a := range p.m.Handle(in, p.now.Add(p.clock)) {
		switch a := a.(type) {
		case Append:
			p.inFlight = &a
			p.hasRoom(a.Entry)
		case Ask:
			p.asked = append(p.asked, a.Message)
		case *SetTimer:
			if p.timer = a.At; !p.timer.IsZero() {
				p.timer = p.timer.Add(-p.clock)
			}
		case Stop:
			p.stopped = true
		}
	}
	if err := p.m.State().Check(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.m.WaitingFor()
}

func (p *property) durable() {
	if p.inFlight == nil {
		return
	}
	data, err := proto.Marshal(p.inFlight.Entry)
	if err != nil {
		p.t.Fatal(err)
	}
	p.inFlight = nil
	p.stored = append(p.stored, data)
	e, err := DecodeEntry(data)
	if err == nil && time.UnixMicro(e.AtUs).Before(p.folded.At) {
		p.t.Fatalf("entry %d is of %v, before the one that it follows", len(p.stored), time.UnixMicro(e.AtUs))
	}
	if err == nil {
		err = p.folded.ApplyChecked(e)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.folded.CheckSame(p.m.State()); err != nil {
		p.t.Fatalf("entry %d folds to another state: %v", len(p.stored), err)
	}
	p.handle(Appended{})
}

// conflict loses the entry that is in flight with its activation.
func (p *property) conflict() {
	p.inFlight = nil
	p.handle(Appended{Err: errors.New("conflict")})
	if !p.stopped {
		p.t.Fatal("the activation goes on after a conflict")
	}
}

func (p *property) restore() {
	p.inFlight, p.timer, p.stopped, p.asked = nil, time.Time{}, false, nil
	p.clock = rapid.SampledFrom([]time.Duration{0, 0, -10 * time.Second, 10 * time.Second}).Draw(p.t, "clock")
	if len(p.stored) == 0 {
		p.m = New(scriptRun, p.def, p.config())
		p.handle(p.start())
		return
	}
	m, err := Restore(scriptRun, p.def, p.stored, p.config())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.folded.CheckSame(m.State()); err != nil {
		p.t.Fatalf("the restored state is another one: %v", err)
	}
	p.m = m
	p.handle(TakeUp{})
}

// finish lets everything go well from here on: the run must end.
func (p *property) finish() {
	for range 300 {
		for p.inFlight != nil {
			p.durable()
		}
		st := p.m.State()
		switch {
		case st.Start == nil:
			p.restore()
			continue
		case st.Ended():
			return
		case p.stopped:
			p.restore()
		}
		p.goWell(st)
		p.pass(10 * time.Second)
	}
	p.t.Fatalf("the run does not end: waits for %q", p.m.WaitingFor())
}

func (p *property) goWell(st *State) {
	if b := st.Binding; b.Worker != nil && b.Lost {
		p.settle(WorkerChanged{Worker: b.Worker, State: WorkerUp, Info: infoOf(p.def, words{})})
	}
	if p.m.leaving.handOff != nil {
		p.settle(FromWorker{&messages.HandedOff{Epoch: st.Binding.Epoch}})
	}
	for _, q := range p.m.questions.open {
		if q != nil && q.placed == nil {
			p.settle(Placed{&messages.Placed{Question: q.ask.Question, Step: q.ask.Step, Worker: workerRef("w9")}})
		}
	}
	for _, c := range st.Children {
		p.settle(ChildStarted{ChildRun: c.RunID})
		p.settle(ChildCanceled{c.RunID})
	}
	for i := range st.Steps {
		if step := &st.Steps[i]; step.Phase == Live {
			p.settle(FromWorker{&messages.Result{Step: step.Def.Name, Attempt: step.Attempt, Epoch: step.Epoch, WorkerId: step.Worker.WorkerId,
				Incarnation: step.Worker.Incarnation, Outcome: &messages.Result_Output{Output: []byte("x")}}})
		}
	}
}

func (p *property) settle(in Input) {
	if p.stopped {
		return
	}
	p.handle(in)
	for p.inFlight != nil {
		p.durable()
	}
}
