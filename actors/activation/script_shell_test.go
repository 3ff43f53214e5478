package activation

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// The shell of a script: it prints what the cores want done, and does it.

func name(a *Activation) string { return fmt.Sprintf("%s.%d", a.RunID, a.Serial) }

func (s *script) line(a *Activation, format string, args ...any) {
	s.printf("  %s: %s", name(a), fmt.Sprintf(format, args...))
}

// settle lets every message be received.
func (s *script) settle() {
	for len(s.mailboxes) > 0 {
		m := s.mailboxes[0]
		s.mailboxes = s.mailboxes[1:]
		s.do1(m.to, m.to.Receive(m.message, m.sender, s.now))
	}
}

func (s *script) handle(in Input) {
	for _, action := range s.host.Handle(in, s.now) {
		s.hostAction(action)
	}
	s.must(s.host.Check())
}

func (s *script) hostAction(action Action) {
	switch act := action.(type) {
	case Spawn:
		a := act.Activation
		s.line(a, "is made")
		s.do1(a, a.Begin(s.now))
	case Tell:
		switch msg := act.Message.(type) {
		case Drop, CompareStored, run.PlacementReset, run.Park, run.Admit:
			s.line(act.Activation, "is told: %s", strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T%+v", msg, msg), "activation."), "run."))
		}
		s.mailboxes = append(s.mailboxes, mail{act.Activation, act.Message, act.Sender})
	case *Read:
		s.askRead(act)
	case AppendParked:
		s.parked(act)
	case ReadRow:
		rec, err := s.store.Entries(context.Background(), act.RunID, 0, 0)
		s.handle(RowRead{Of: act, Row: rec.Row, Err: err})
	case Later:
		s.timers = append(s.timers, timer{s.now.Add(act.After), act.Input})
	case Offer:
		s.printf("  shards %v are offered to %s", act.Shards, act.Owner)
		s.offers = append(s.offers, act)
	case Taken:
		s.printf("  %v is told that its shards are taken", act.Asker)
	case StartDone:
		s.startDone(act.Starting, act.Reply)
	case SendOver:
		s.printf("  the result of %s goes to its new owner", act.RunID)
		s.handle(PassedOver{})
	case Stir:
		s.printf("  who waits for news of runs reads the journal")
	case Respond:
		s.printf("  answer to %v: %s", act.To, describe(act.Message))
	case LoadsAgain:
		s.printf("  %s is loaded again in %v: %s", act.RunID, act.In, messages.CodeOf(act.Err))
	case SetAside:
		s.printf("  %s is set aside: %s", act.RunID, messages.CodeOf(act.Err))
	case ReadsAgain:
		s.printf("  a reading is tried again: %s", messages.CodeOf(act.Err))
	case Recovered:
		s.printf("  %d runs are back", act.Runs)
	case Begun:
		s.printf("  the server begins anew, %d runs are dropped", act.Runs)
		s.handle(ViewChanged{Version: s.view, Owned: s.owned[:]})
	default:
		s.fatal("unknown action %T", act)
	}
}

func (s *script) startDone(st *Starting, r *messages.StartRunReply) {
	switch {
	case r.Error != nil:
		s.printf("  answer to the start of %s: %s", st.Message.RunId, r.Error.Code)
	case r.Existed:
		s.printf("  answer to the start of %s: it existed", st.Message.RunId)
	default:
		s.printf("  answer to the start of %s: started", st.Message.RunId)
	}
}

// do1 carries out what an activation wants done.
func (s *script) do1(a *Activation, actions []Action) {
	for _, action := range actions {
		s.action(a, action)
	}
	s.must(a.Check())
}

func (s *script) action(a *Activation, action Action) {
	switch act := action.(type) {
	case Load:
		s.line(a, "load")
		s.later(func(err error) {
			s.mailboxes = append(s.mailboxes, mail{a, s.load(a.RunID, err), nil})
		})
	case run.Append:
		var kinds []string
		for _, ev := range act.Entry.Events {
			kinds = append(kinds, eventName(ev))
		}
		s.line(a, "append %d: %s", act.Number, strings.Join(kinds, ", "))
		s.appends = append(s.appends, pendingAppend{s.entry(a.State(), act.Entry), func(err error) {
			s.mailboxes = append(s.mailboxes, mail{a, run.Appended{Err: err}, nil})
		}})
		if !s.appendsWait {
			s.stored(a.RunID, "stored")
		}
	case run.SendWorker:
		s.line(a, "to %s: %s", act.To.WorkerId, describe(act.Message))
		if d, ok := act.Message.(*messages.Dispatch); ok {
			s.mailboxes = append(s.mailboxes, mail{a, &messages.Queued{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Slots: 1}, nil})
		}
	case run.InLine:
		s.handle(Lined{a, act})
	case run.Ask:
		m := act.Message
		if s.busy {
			s.asked[a.RunID] = asked{a, m}
			s.mailboxes = append(s.mailboxes, mail{a, &messages.PlaceWaiting{RunId: a.RunID, Question: m.Question, Step: m.Step, Text: "a slot"}, nil})
			return
		}
		placed := &messages.Placed{RunId: a.RunID, Question: m.Question, Step: m.Step, GrantId: 1, Worker: workerRef("w1")}
		if m.ExcludeWorker == "w1" {
			placed.Worker = workerRef("w2")
		}
		s.mailboxes = append(s.mailboxes, mail{a, placed, nil})
	case run.Withdraw, run.Unbound, run.Watch, run.Unwatch:
	case *run.SetTimer:
		if s.runTimers[a] = act.At; act.At.IsZero() {
			delete(s.runTimers, a)
		}
	case run.StartChild:
		s.line(a, "start the child")
		s.mailboxes = append(s.mailboxes, mail{a, run.ChildStarted{ChildRun: act.Message.RunId}, nil})
	case run.ReadCalls:
		s.line(a, "read calls from entry %d for %v", act.From, act.Token)
	case run.ListChildren:
		s.line(a, "ask which children have ended")
	case run.CancelChild:
		s.line(a, "cancel the child")
		s.child = act
	case run.Reply:
		st := act.Token.(*Starting)
		if r := st.Answered(act); r != nil {
			s.startDone(st, r)
			return
		}
		s.line(a, "the start is tried again: %s", messages.CodeOf(act.Err))
		s.handle(Start{st})
	case run.Stop:
		s.line(a, "has retired")
		delete(s.runTimers, a)
		s.retired = append(s.retired, a)
		s.handle(Retired{a})
	default:
		s.ownAction(a, action)
	}
}

// ownAction carries out an action that is not run's.
func (s *script) ownAction(a *Activation, action Action) {
	switch act := action.(type) {
	case Resolve:
		s.mailboxes = append(s.mailboxes, mail{a, &SpawnResolved{Resolve: act, Def: s.def, Hash: "h"}, nil})
	case StartCanceled:
		s.line(a, "start the child with its cancel")
	case Respond:
		s.line(a, "answer to %v: %s", act.To, describe(act.Message))
	case PassOn:
		if act.Message == nil {
			s.line(a, "make the next one")
			s.handle(Want{a.RunID})
			return
		}
		s.line(a, "pass on %s", describe(act.Message))
		s.handle(Deliver{RunID: a.RunID, Message: act.Message, Sender: act.Sender})
	case Foreign:
		s.line(a, "refuse: %v", act.Err)
	case PassOver:
		s.line(a, "pass over the result")
		s.handle(Misplaced{a.RunID, act})
	case Compare:
		s.line(a, "compare with the journal")
		s.later(func(err error) {
			rec, _ := s.store.Entries(context.Background(), a.RunID, act.After, 1)
			s.mailboxes = append(s.mailboxes, mail{a, Compared{Of: act, More: len(rec.Entries) > 0, Err: err}, nil})
		})
	case Seen:
		s.line(a, "the clock goes on by %s", act.At.Sub(s.now))
		s.now = act.At
	case LoadAgain:
		s.handle(Again{a.RunID, act})
	case LoadFailed:
		s.line(a, "cannot be loaded: %s", messages.CodeOf(act.Err))
		s.handle(Failed{a.RunID, act.Err})
	case AppendFailed:
		s.line(a, "its append failed: %s", messages.CodeOf(act.Err))
	default:
		s.fatal("unknown action %T", act)
	}
}

// parked makes the first entry of a run durable that has no activation.
func (s *script) parked(act AppendParked) {
	var kinds []string
	for _, ev := range act.Entry.Events {
		kinds = append(kinds, eventName(ev))
	}
	s.printf("  %s, which is not activated: append 1: %s", act.State.RunID, strings.Join(kinds, ", "))
	s.appends = append(s.appends, pendingAppend{s.entry(act.State, act.Entry), func(err error) { s.handle(Parked{Of: act, Err: err}) }})
	if !s.appendsWait {
		s.stored(act.State.RunID, "stored")
	}
}

// ---- the journal ---------------------------------------------------------------

func (s *script) load(runID string, err error) *Loaded {
	record, failed := s.store.Load(context.Background(), runID)
	if err == nil {
		err = failed
	}
	return &Loaded{Record: record, Def: s.def, Err: err}
}

func (s *script) stored(runID, how string) {
	for i, p := range s.appends {
		if p.append.RunID != runID {
			continue
		}
		s.appends = append(s.appends[:i:i], s.appends[i+1:]...)
		var err error
		switch how {
		case "stored":
			err = s.store.Append(context.Background(), []journal.Append{p.append})[0]
		case "conflict":
			err = messages.Errorf(messages.CodeJournalConflict, "another activation went on")
		case "stored-unanswered":
			s.must(s.store.Append(context.Background(), []journal.Append{p.append})[0])
			fallthrough
		default:
			err = messages.Errorf(messages.CodeJournalUnavailable, "down")
		}
		p.done(err)
		return
	}
	s.fatal("no append of %s is in flight", runID)
}

// later carries out a reading now, or when the script says so.
func (s *script) later(read func(err error)) {
	if s.readsWait {
		s.reads = append(s.reads, read)
		return
	}
	read(nil)
}

func (s *script) answerRead(how string) {
	if len(s.reads) == 0 {
		s.fatal("nothing is being read")
	}
	read := s.reads[0]
	s.reads = s.reads[1:]
	var err error
	switch how {
	case "fails":
		err = messages.Errorf(messages.CodeJournalUnavailable, "down")
	case "corrupt":
		err = messages.Errorf(messages.CodeRunSetAside, "of a newer version")
	}
	read(err)
}

func (s *script) askRead(act *Read) {
	if s.readsWait {
		s.printf("  read %s", act.Query)
	}
	s.later(func(err error) {
		if err != nil {
			s.handle(Page{Of: act, Err: err})
			return
		}
		s.handle(s.page(act))
	})
}

func (s *script) page(act *Read) Page {
	ctx := context.Background()
	page := Page{Of: act}
	var records []journal.Record
	var err error
	switch act.Query {
	case ReadActive:
		records, err = s.store.Active(ctx, act.Shards, act.After, act.Limit)
	case ReadWokenByUp:
		records, err = s.store.WokenByUp(ctx, act.Shards, act.WorkerID, act.After, act.Limit)
	case ReadWokenByGone:
		records, err = s.store.WokenByGone(ctx, act.Shards, act.WorkerID, act.After, act.Limit)
	case ReadWatched:
		page.Workers, err = s.store.WatchedWorkers(ctx, act.Shards)
	case ReadInLine:
		records, err = s.store.InLine(ctx, act.Shards, act.Line, act.Place, act.Limit)
	case ReadLines:
		page.Lines, err = s.store.Lines(ctx, act.Shards)
	case ReadHeads:
		var heads []journal.Head
		heads, err = s.store.Heads(ctx, act.Shards, act.After, act.Limit)
		for _, head := range heads {
			s.handle(Head{act, head})
		}
		page.Count = len(heads)
	case ReadDue:
		var due []string
		due, page.Next, err = s.store.Due(ctx, act.Shards, act.At, act.Limit)
		for _, id := range due {
			s.handle(Found{act, id})
		}
	}
	s.must(err)
	for _, r := range records {
		s.handle(Record{act, Loaded{Record: r, Def: s.def}})
		page.Count++
	}
	return page
}

// ---- words ---------------------------------------------------------------------

func eventName(ev *messages.Event) string {
	m := ev.ProtoReflect()
	return strings.ReplaceAll(string(m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")).Name()), "_", "-")
}

func describe(message any) string {
	switch m := message.(type) {
	case WaitingFor:
		return fmt.Sprintf("waits for %q", string(m))
	case *messages.Dispatch:
		verb := "dispatch"
		if m.TakeUp {
			verb = "take up"
		}
		return fmt.Sprintf("%s %s#%d term=%d", verb, m.Step, m.Attempt, m.LeaseTerm)
	case *messages.Revoke:
		return fmt.Sprintf("withdraw %s#%d", m.Step, m.Attempt)
	case *messages.HandOff:
		return fmt.Sprintf("hand off, term=%d", m.LeaseTerm)
	case *messages.Result:
		return fmt.Sprintf("result of %s#%d %s", m.Step, m.Attempt, m.GetFailure().GetCode())
	case *messages.ResultAck:
		return fmt.Sprintf("result of %s#%d is recorded", m.Step, m.Attempt)
	case *messages.RunReleased:
		return fmt.Sprintf("released, epoch %d: %v", m.Epoch, m.Reason.Words())
	case *messages.CommandReply:
		return codeOf(m.Error)
	case *messages.SpawnChildReply:
		return strings.TrimSpace(m.ChildRun + " " + codeOf(m.Error))
	case *messages.RecordCallReply:
		return strings.TrimSpace("the record of a call " + codeOf(m.Error))
	case *messages.RecordedCallsReply:
		return strings.TrimSpace(fmt.Sprintf("%d records of calls %s", len(m.Calls), codeOf(m.Error)))
	case *run.WorkerChanged:
		return "news of " + m.Worker.WorkerId
	case *SpawnResolved:
		return "a spawn"
	case run.Start:
		return "a start"
	case proto.Message:
		return string(m.ProtoReflect().Descriptor().Name())
	}
	return fmt.Sprintf("%T", message)
}

func codeOf(f *messages.Failure) string {
	if f == nil {
		return "done"
	}
	return f.Code
}
