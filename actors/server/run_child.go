package server

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What a run does with its children and for the calls of its steps, off its mailbox.

// callsWithin bounds what a run asks of other runs.
const callsWithin = 30 * time.Second

// spawnable checks what a step says of a child, as the gateway checks what a
// caller says of a run, and returns the child's definition.
func (h *Host) spawnable(ctx context.Context, msg *messages.SpawnChild) (definitions.Workflow, error) {
	if err := messages.CheckFields(msg); err != nil {
		return definitions.Workflow{}, err
	}
	def, err := h.definitions.Current(ctx, msg.Workflow)
	if err != nil {
		return definitions.Workflow{}, err
	}
	return def, def.CheckInput(msg.Input)
}

// unsuccessful says that a child has ended and not succeeded; false for one that
// is not there, or not named.
func (h *Host) unsuccessful(ctx context.Context, child string) (bool, error) {
	if child == "" {
		return false, nil
	}
	rec, err := h.cfg.Store.Entries(ctx, child, 0, 0)
	if messages.CodeOf(err) == messages.CodeUnknownRun {
		return false, nil
	}
	return journal.Finished(rec.Row.Status) && rec.Row.Status != messages.RunStatus_RUN_STATUS_SUCCEEDED, err
}

// listChildren reads which children of the run have ended.
func (a *runActor) listChildren(ctx actor.Context) {
	root, self, host, id := ctx.ActorSystem().Root, a.self, a.host, a.id
	host.loader.Schedule(func() {
		c, cancel := context.WithTimeout(host.ctx, callsWithin)
		defer cancel()
		listed := run.ChildrenListed{}
		listed.Err = host.guard.Do(func() (err error) {
			listed.Ended, err = journal.EndedChildren(c, host.cfg.Store, id)
			return err
		})
		root.Send(self, listed)
	})
}

// askChild reads whether a child has ended, and how.
func (a *runActor) askChild(ctx actor.Context, act run.AskChild) {
	root, self, host := ctx.ActorSystem().Root, a.self, a.host
	host.loader.Schedule(func() {
		asked := run.ChildAsked{RunID: act.RunID, Serial: act.Serial}
		asked.Err = host.guard.Do(func() (err error) {
			asked.End, err = host.endOf(act.RunID)
			return err
		})
		root.Send(self, asked)
	})
}

// endOf is how a run has ended; nil if it goes on.
func (h *Host) endOf(runID string) (*messages.ChildEnd, error) {
	var history run.ChildHistory
	rec, err := h.cfg.Store.Entries(h.ctx, runID, 0, 0)
	if err != nil || !journal.Finished(rec.Row.Status) {
		return nil, err
	}
	for more := true; more; {
		rec, err := h.cfg.Store.Entries(h.ctx, runID, history.Number(), callEntriesAtOnce)
		if err != nil {
			return nil, err
		}
		for i, data := range rec.Entries {
			number := rec.After + uint64(i) + 1
			if err := history.Add(number, data); err != nil {
				return nil, messages.Errorf(messages.CodeJournalCorrupt, "run %s, entry %d: %w", runID, number, err)
			}
		}
		more = len(rec.Entries) == callEntriesAtOnce
	}
	return history.End(runID), nil
}

// tellWithin bounds one telling of a parent; it is told again.
const tellWithin = 2 * time.Second

// tellParent tells a parent of the run's end. One that is not there, or cannot be read,
// need not know.
func (a *runActor) tellParent(ctx actor.Context, act run.TellParent) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), tellWithin)
		defer cancel()
		err := a.host.guard.Do(func() error { return a.host.engine.command(c, act.Message.RunId, act.Message) })
		switch messages.CodeOf(err) {
		case "", messages.CodeUnknownRun, messages.CodeRunSetAside:
			root.Send(self, run.ParentTold{Of: act.Of})
		}
	}()
}

// startOrSignal starts the run of a key with a message, or has the one that is there get
// it. A workflow that starts no new runs may have one.
func (h *Host) startOrSignal(ctx context.Context, act run.SignalOther) error {
	of, msg := act.Keyed, act.Message
	def, err := h.definitions.Current(ctx, of.Workflow)
	if err != nil {
		return err
	}
	if err := def.CheckInput(of.Input); err != nil {
		return err
	}
	if retired := def.MayStart(); retired != nil {
		err := h.engine.SignalRun(ctx, msg)
		if messages.CodeOf(err) == messages.CodeUnknownRun {
			return retired
		}
		return err
	}
	return h.startOne(ctx, &messages.StartRun{RunId: msg.RunId, Signal: msg, Start: &messages.RunStarted{
		Workflow: of.Workflow, DefinitionHash: def.Hash, Input: of.Input, IdempotencyKey: of.IdempotencyKey,
		Priority: messages.EffectivePriority(of.Priority, def.Def.Priority), Pool: def.Def.EffectivePool(), Sticky: def.Def.Sticky,
		Trigger: "step", Metadata: of.Metadata, Traceparent: act.Traceparent,
	}})
}

// signalOther sends a message to another run.
func (a *runActor) signalOther(ctx actor.Context, act run.SignalOther) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), callsWithin)
		defer cancel()
		err := a.host.guard.Do(func() error {
			if act.Keyed != nil {
				return a.host.startOrSignal(c, act)
			}
			return a.host.engine.SignalRun(c, act.Message)
		})
		root.Send(self, run.SignalSent{Of: act, Err: err})
	}()
}

// callEntriesAtOnce is how many entries are read at once for records of calls.
const callEntriesAtOnce = 16

// readCalls answers whoever asks for the record of a call.
func (a *runActor) readCalls(ctx actor.Context, act run.ReadCalls) {
	root, host, id := ctx.ActorSystem().Root, a.host, a.id
	host.loader.Schedule(func() {
		calls, err := host.recordedCalls(id, act)
		root.Send(act.Token.(*actor.PID), &messages.RecordedCallsReply{Calls: calls, Error: messages.ToFailure(err)})
	})
}

func (h *Host) recordedCalls(runID string, act run.ReadCalls) ([]*messages.CallRecorded, error) {
	page := run.NewCallPage(act.Find)
	for after, more := act.From-1, true; more; after += callEntriesAtOnce {
		rec, err := h.cfg.Store.Entries(h.ctx, runID, after, callEntriesAtOnce)
		if err != nil {
			return nil, err
		}
		for _, data := range rec.Entries {
			if more, err = page.Add(data); err != nil {
				return nil, messages.Errorf(messages.CodeJournalCorrupt, "run %s, after entry %d: %w", runID, after, err)
			}
			if !more {
				break
			}
		}
		more = more && len(rec.Entries) == callEntriesAtOnce
	}
	if len(page.Calls()) == 0 {
		return nil, messages.Errorf(messages.CodeJournalCorrupt, "run %s, entry %d has no record of call %q %s of step %q", runID, act.From, act.Find.Name, act.Find.Key, act.Find.Step)
	}
	return page.Calls(), h.addSignal(runID, page)
}

// addSignal reads the message that a record is of.
func (h *Host) addSignal(runID string, page *run.CallPage) error {
	if page.Signal() == 0 {
		return nil
	}
	entry, err := h.cfg.Store.Entry(h.ctx, runID, page.Signal())
	if err == nil && entry == nil {
		err = messages.Errorf(messages.CodeJournalCorrupt, "run %s has no entry %d", runID, page.Signal())
	}
	if err != nil {
		return err
	}
	return page.AddSignal(entry)
}

func (a *runActor) startChild(ctx actor.Context, msg *messages.StartRun) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), callsWithin)
		defer cancel()
		err := a.host.guard.Do(func() error { return a.host.startOne(c, msg) })
		root.Send(self, run.ChildStarted{ChildRun: msg.RunId, Err: err})
	}()
}

func (a *runActor) cancelChild(ctx actor.Context, act run.CancelChild) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), callsWithin)
		defer cancel()
		err := a.host.guard.Do(func() error {
			return a.host.engine.CancelRun(c, &messages.CancelRun{RunId: act.RunID, Reason: act.Reason})
		})
		root.Send(self, activation.ChildAnswered{Of: act, Err: err})
	}()
}

// startCanceled starts a child with its cancel.
func (a *runActor) startCanceled(ctx actor.Context, act run.CancelChild) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), callsWithin)
		defer cancel()
		err := a.host.guard.Do(func() error { return a.host.startCanceled(c, act) })
		root.Send(self, activation.ChildAnswered{Of: act, Started: true, Err: err})
	}()
}

func (h *Host) startCanceled(ctx context.Context, act run.CancelChild) error {
	def, err := h.definitions.ByHash(ctx, act.Start.DefinitionHash)
	if err != nil {
		return err
	}
	start := proto.Clone(act.Start).(*messages.RunStarted)
	start.Pool, start.Sticky = def.Def.EffectivePool(), def.Def.Sticky
	start.Priority = messages.EffectivePriority(def.Def.Priority)
	return h.startOne(ctx, &messages.StartRun{
		RunId: act.RunID, Start: start, Cancel: &messages.CancelRequested{Reason: act.Reason},
	})
}

func (h *Host) startOne(ctx context.Context, msg *messages.StartRun) error {
	replies, err := h.engine.StartRuns(ctx, []*messages.StartRun{msg})
	if err != nil {
		return err
	}
	return messages.FromFailure(replies[0].Error)
}
