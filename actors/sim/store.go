package sim

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// store models the disk under a journal: the memory store holds what is
// durable, and an append takes a while to become so.
type store struct {
	*journal.Memory
	sim *Sim
}

var background = context.Background()

var unavailable = messages.Errorf(messages.CodeJournalUnavailable, "the connection broke")

// journalDown says that nobody gets an answer from the journal.
func (s *Sim) journalDown() bool { return s.faulty() && s.now.Before(s.downUntil) }

// append makes an entry durable and tells the server, unless one of the two
// fails. A server that dies meanwhile may leave an append behind that becomes
// durable without it.
func (st *store) append(sv *server, a journal.Append, done func(error)) {
	s := st.sim
	wait := s.dice.between(200*time.Microsecond, 2*time.Millisecond)
	if s.faulty() && s.dice.chance(s.world.slowDisk) {
		wait += s.dice.between(0, 800*time.Millisecond)
	}
	s.after(wait, func() {
		if !sv.alive && s.dice.chance(0.5) {
			return
		}
		if s.faulty() && s.dice.chance(s.world.diskFails) || s.journalDown() && s.dice.chance(0.7) {
			sv.now(func() { done(unavailable) })
			return
		}
		err := st.Append(background, []journal.Append{a})[0]
		if err == nil {
			s.monitor.committed(a.RunID, a.Entry)
			if s.faulty() && s.dice.chance(s.world.diskFails) || s.journalDown() {
				err = unavailable
			}
		}
		sv.later(s.dice.between(0, 300*time.Microsecond), func() { done(err) })
	})
}

// rowOf projects a run to its row, as the shell does.
func rowOf(st *run.State) *journal.Row {
	row := &journal.Row{
		RunID: st.RunID, Shard: shardOf(st.RunID), Workflow: st.Start.Workflow, DefinitionHash: st.Start.DefinitionHash,
		Pool: st.Def.EffectivePool(), Sticky: st.Def.Sticky, Status: st.Status, ParentRun: st.Start.ParentRun,
		BoundWorker: st.BoundWorker(), Epoch: st.Epoch, CreatedAt: st.CreatedAt, FinishedAt: st.FinishedAt,
	}
	if d := st.Dormant; d != nil {
		row.Dormant, row.WakeOnUp, row.WakeOnGone = true, d.WakeOnUp, d.WakeOnGone
		if d.WakeAtUs != 0 {
			row.WakeAt = time.UnixMicro(d.WakeAtUs)
		}
	}
	return row
}

func marshal(e *messages.Entry) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		panic(err)
	}
	return data
}
