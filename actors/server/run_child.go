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
	_, row, err := h.cfg.Store.Entries(ctx, child, 0, 0)
	if messages.CodeOf(err) == messages.CodeUnknownRun {
		return false, nil
	}
	return journal.Finished(row.Status) && row.Status != messages.RunStatus_RUN_STATUS_SUCCEEDED, err
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
		entries, _, err := h.cfg.Store.Entries(h.ctx, runID, after, callEntriesAtOnce)
		if err != nil {
			return nil, err
		}
		for _, data := range entries {
			if more, err = page.Add(data); err != nil {
				return nil, messages.Errorf(messages.CodeJournalCorrupt, "run %s, after entry %d: %w", runID, after, err)
			}
			if !more {
				break
			}
		}
		more = more && len(entries) == callEntriesAtOnce
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
	entries, _, err := h.cfg.Store.Entries(h.ctx, runID, page.Signal()-1, 1)
	if err == nil && len(entries) == 0 {
		err = messages.Errorf(messages.CodeJournalCorrupt, "run %s has no entry %d", runID, page.Signal())
	}
	if err != nil {
		return err
	}
	return page.AddSignal(entries[0])
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
		err := a.host.guard.Do(func() error { return a.host.engine.CancelRun(c, act.RunID, act.Reason) })
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
