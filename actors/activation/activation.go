package activation

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Activation is one run in memory, made by a Host. It is not safe for concurrent
// use, but for its exported fields, which stay as they are.
type Activation struct {
	// RunID names the run, Serial the activation among those of its host.
	RunID  string
	Serial uint64
	// Address is the shell's: where the activation gets its messages. It is set
	// by whoever carries out Spawn.
	Address any

	facts Facts
	cfg   *run.Config

	// fresh is the definition of a run that is about to be started; read is what
	// the host has read of the run already. Without both it is loaded.
	fresh *messages.WorkflowDefinition
	read  *Loaded
	// inTurn: it is activated because it is its turn. line is the one that it
	// counts in, with a weight; both are the host's alone.
	inTurn bool
	line   *line
	weight int

	m   *run.Machine
	def *messages.WorkflowDefinition
	// watched are the workers of which news is wanted.
	watched []string
	// early holds what came while the run was loaded.
	early run.Backlog[envelope]
	// leaving: it ends when the append in flight is stored; held is what came in
	// the meantime, which is passed on then.
	leaving bool
	held    run.Backlog[envelope]
	// counted is what facts know of as waiting here, in bytes.
	counted int
	// retired: the host has forgotten this activation.
	retired bool
	// failed is why messages are refused.
	failed error
	// failures counts the activations in a row that failed before this one.
	failures int
	// mark is when the activation was last shown to be the newest, appendMark
	// when the append in flight began.
	mark, appendMark uint64
	// unproven are the answers that are given once the activation is shown to be the
	// newest; asked counts them from the first on.
	unproven []run.Reply
	asked    uint64

	out []Action
}

// envelope is a message, and who is to get its answer.
type envelope struct{ message, sender any }

// State is the run as it will be once the append in flight is stored; nil while
// it is loaded.
func (a *Activation) State() *run.State {
	if a.m == nil {
		return nil
	}
	return a.m.State()
}

// WaitingFor says what the run waits for; empty while it is loaded.
func (a *Activation) WaitingFor() string {
	if a.m == nil {
		return ""
	}
	return a.m.WaitingFor()
}

// Rest is that of the run; busy while it is loaded or leaves.
func (a *Activation) Rest() run.Rest {
	if a.m == nil || a.leaving {
		return run.Rest{Busy: "it is loaded, or given to another server"}
	}
	return a.m.Rest()
}

// Watched are the workers of which the activation wants news. Who ends it
// unwatches them.
func (a *Activation) Watched() []string { return a.watched }

// Begin is the first call.
func (a *Activation) Begin(now time.Time) []Action {
	switch {
	case a.fresh != nil:
		a.def = a.fresh
		a.m = run.New(a.RunID, a.def, a.cfg)
	case a.read != nil:
		read := a.read
		a.read = nil
		a.restore(read, now)
	default:
		a.mark = a.facts.LeaseMark()
		a.act(Load{})
	}
	return a.taken()
}

// Receive takes a message of the mailbox. While the run is loaded, and after the
// activation has retired, messages are kept or passed on. The actions are to be
// carried out before the next message.
func (a *Activation) Receive(message, sender any, now time.Time) []Action {
	loaded, isLoaded := message.(*Loaded)
	switch {
	case isLoaded:
		a.restore(loaded, now)
	case a.turnedAway(envelope{message, sender}):
	case a.retired:
		a.pass(envelope{message, sender})
	case a.m == nil:
		a.early.Add(envelope{message, sender}, message)
	case a.leaving:
		a.hold(envelope{message, sender}, now)
	default:
		a.route(envelope{message, sender}, now)
	}
	a.count()
	return a.taken()
}

func (a *Activation) act(action Action) { a.out = append(a.out, action) }

func (a *Activation) taken() []Action {
	if a.retired {
		a.proven(a.asked, messages.Errorf(messages.CodeUnavailable, "run %s is going on in another activation", a.RunID))
	}
	out := a.out
	a.out = nil
	return out
}

// restore makes the machine of a run that was read, and lets it take up.
func (a *Activation) restore(msg *Loaded, now time.Time) {
	if a.m != nil || a.retired {
		return
	}
	err := msg.Err
	if err == nil {
		a.def = msg.Def
		a.m, err = run.Restore(a.RunID, msg.Def, msg.Record.Entries, a.cfg)
	}
	early := a.early.Take()
	if err != nil {
		a.loadFailed(err, early)
		return
	}
	if at := a.m.State().At; at.After(now) {
		a.act(Seen{At: at})
	}
	a.handle(run.TakeUp{Absences: a.facts.Absences(), InTurn: a.inTurn}, now)
	for _, e := range early {
		switch {
		case a.retired:
			a.pass(e)
		case a.leaving:
			a.hold(e, now)
		default:
			a.route(e, now)
		}
	}
}

// loadFailed retires before it refuses: a start that is refused is tried again
// at once, and needs another activation for it.
func (a *Activation) loadFailed(err error, early []envelope) {
	a.failed = err
	a.act(LoadFailed{Err: err})
	a.retire()
	for _, e := range early {
		a.refuse(e, err)
	}
	if messages.CodeOf(err).Retryable() {
		a.act(LoadAgain{Failures: a.failures, Err: err})
	}
}

// route turns a message into an input of the machine. What is for another worker to
// say is refused.
func (a *Activation) route(e envelope, now time.Time) {
	if a.foreign(e) {
		return
	}
	switch msg := e.message.(type) {
	case run.Appended:
		a.appended(msg, now)
	case *run.WorkerChanged:
		a.handle(*msg, now)
	case run.Input:
		a.handle(msg, now)
	case *messages.Placed:
		a.handle(run.Placed{Message: msg}, now)
	case *messages.PlaceWaiting:
		a.handle(run.PlaceWaiting{Message: msg}, now)
	case *messages.CancelRun:
		a.handle(run.Cancel{Reason: msg.Reason, WithoutEndStep: msg.WithoutEndStep, Token: commander{e.sender}}, now)
	case *messages.ReplayRun:
		a.handle(run.Replay{Steps: msg.Steps, RequestID: msg.RequestId, Token: commander{e.sender}}, now)
	case *messages.SpawnChild:
		a.act(Resolve{Message: msg, Sender: e.sender, Earlier: a.m.MayReplace(msg)})
	case *SpawnResolved:
		a.handle(a.spawn(msg), now)
	case *messages.SignalRun:
		a.handle(run.Signal{Message: msg, Token: commander{e.sender}}, now)
	case *messages.ChildEnded:
		a.handle(run.ChildEnded{ChildRun: msg.ChildRun, Token: commander{e.sender}}, now)
	case *messages.DeliverEvent:
		a.handle(run.EventCame{Message: msg, Token: commander{e.sender}}, now)
	case proto.Message:
		a.handle(ofStep(msg, e.sender), now)
	default:
		a.ofHost(e, now)
	}
}

// foreign refuses what is for another worker to say.
func (a *Activation) foreign(e envelope) bool {
	m, ok := e.message.(proto.Message)
	if !ok {
		return false
	}
	err := a.m.Foreign(m)
	if err != nil {
		a.act(Foreign{Err: err})
		a.refuse(e, err)
	}
	return err != nil
}

// ofStep is what a worker says of an attempt, or a step of its calls.
func ofStep(message proto.Message, sender any) run.Input {
	switch msg := message.(type) {
	case *messages.AwaitCall:
		return run.AwaitCall{Message: msg, Token: finder{sender}}
	case *messages.SendSignal:
		return run.SendSignal{Message: msg, Token: finder{sender}}
	case *messages.OpenStream:
		return run.OpenStream{Message: msg, Token: opener{sender}}
	case *messages.RecordCall:
		return run.RecordCall{Message: msg, Token: recorder{sender}}
	case *messages.RecordedCalls:
		return run.FindCall{Message: msg, Token: finder{sender}}
	case *messages.FindRun:
		return run.Where{Token: locator{sender}}
	}
	return run.FromWorker{Message: message}
}

// ofHost handles what the host asks of the activation.
func (a *Activation) ofHost(e envelope, now time.Time) {
	switch msg := e.message.(type) {
	case AskWaitingFor:
		a.respond(e.sender, WaitingFor(a.m.WaitingFor()))
	case Drop:
		// It may have come back meanwhile.
		if msg.Anew || !a.facts.Owns(a.RunID) {
			a.leave(now)
		}
	case StoredUpTo:
		a.storedUpTo(msg.Number, now)
	case CompareStored:
		a.act(a.compare())
	case Compared:
		a.compared(msg, now)
	case *Bound:
		a.stillBound(msg)
	case ChildAnswered:
		a.childAnswered(msg, now)
	}
}

// childAnswered tells the machine that a child has taken note of the cancel, or
// has ended; one that cannot be read does not go on either. Of one that does not
// answer the machine asks again.
func (a *Activation) childAnswered(msg ChildAnswered, now time.Time) {
	switch messages.CodeOf(msg.Err) {
	case "", messages.CodeRunFinished, messages.CodeRunEnding, messages.CodeRunSetAside:
		a.handle(run.ChildCanceled{ChildRun: msg.Of.RunID}, now)
	case messages.CodeUnknownRun:
		if !msg.Started {
			a.act(StartCanceled{Of: msg.Of})
		}
	}
}

// storedUpTo ends the activation if it is behind. One that is appending will
// learn it by that.
func (a *Activation) storedUpTo(stored uint64, now time.Time) {
	if number := a.m.State().Number; number < stored && !a.m.Appending() {
		a.leave(now)
		a.act(LoadAgain{Failures: a.failures, Err: messages.Errorf(messages.CodeJournalConflict,
			"run %s has %d entries in the journal and %d here", a.RunID, stored, number)})
	}
}

// compare asks for more entries. That in flight may turn out to be another's.
func (a *Activation) compare() Compare {
	after := a.m.State().Number
	if a.m.Appending() {
		after--
	}
	return Compare{After: after, mark: a.facts.LeaseMark(), asked: a.asked}
}

// prove compares before it gives an answer that no entry shows.
func (a *Activation) prove(answer run.Reply) Action {
	answer.Unproven = false
	a.unproven = append(a.unproven, answer)
	a.asked++
	return a.compare()
}

// proven answers those that had asked by then; with an error they are to ask again.
func (a *Activation) proven(asked uint64, err error) {
	for first := a.asked - uint64(len(a.unproven)); first < asked; first++ {
		answer := a.unproven[0]
		if err != nil {
			answer.Err = err
		}
		if action := a.reply(answer); action != nil {
			a.act(action)
		}
		a.unproven = a.unproven[1:]
	}
}

// compared shows the activation to be the newest, or behind.
func (a *Activation) compared(msg Compared, now time.Time) {
	err := msg.Err
	if msg.More {
		err = messages.Errorf(messages.CodeJournalConflict, "run %s has gone on after entry %d", a.RunID, msg.Of.After)
	}
	a.proven(msg.Of.asked, err)
	switch {
	case msg.Err != nil:
	case msg.More:
		a.storedUpTo(msg.Of.After+1, now)
	case a.m.State().Number == msg.Of.After:
		a.mark = max(a.mark, msg.Of.mark)
	}
}

// appended drops the activation if its append was refused: another activation
// went on, or the journal is out of reach.
func (a *Activation) appended(in run.Appended, now time.Time) {
	if in.Err == nil {
		a.mark, a.failures = a.appendMark, 0
		a.handle(in, now)
		return
	}
	a.act(AppendFailed{Err: in.Err})
	a.handle(in, now)
	if a.m.State().Number > 1 {
		a.act(LoadAgain{Failures: a.failures, Err: in.Err})
	}
	// Else it was not stored, or exists; whoever starts it finds out.
}

// spawn adds what the server knows of the spawning worker.
func (a *Activation) spawn(msg *SpawnResolved) run.Spawn {
	in := run.Spawn{Message: msg.Message, Err: msg.Err, Token: spawner{msg.Sender}}
	if msg.Err != nil {
		return in
	}
	in.Def, in.Hash, in.NoNew = msg.Def, msg.Hash, msg.NoNew
	if msg.Unsuccessful {
		in.Unsuccessful = msg.Earlier
	}
	st := a.m.State().Step(msg.Message.Step)
	if st == nil || st.Worker == nil {
		return in
	}
	info := a.facts.InfoOf(st.Worker)
	in.OnWorker = run.HasSteps(info, msg.Def)
	if info == nil && msg.Message.Sticky {
		// A server that has just started has yet to ask the worker what it
		// serves; the step asks again.
		in.Err = messages.Errorf(messages.CodeUnavailable, "worker %q has not told this server yet what it serves", st.Worker.WorkerId)
	}
	return in
}
