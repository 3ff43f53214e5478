package sim

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
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

// journalDown says that this server gets no answer from the journal.
func (sv *server) journalDown() bool {
	return sv.sim.journalDown() || sv.sim.faulty() && sv.sim.now.Before(sv.sim.storelessUntil[sv.id])
}

// append makes an entry durable and tells the server, unless one of the two
// fails. A server that dies meanwhile may leave an append behind that becomes
// durable without it.
func (st *store) append(sv *server, a journal.Append, done func(error)) {
	s := st.sim
	s.clocks.deciding(a.RunID, a.Number, sv)
	wait := s.dice.between(200*time.Microsecond, 2*time.Millisecond)
	if s.faulty() && s.dice.chance(s.world.slowDisk) {
		wait += s.dice.between(0, 800*time.Millisecond)
	}
	s.after(wait, func() {
		if !sv.alive && s.dice.chance(0.5) {
			return
		}
		if s.faulty() && s.dice.chance(s.world.diskFails) || sv.journalDown() && s.dice.chance(0.7) {
			sv.now(func() { done(unavailable) })
			return
		}
		err := st.Append(background, []journal.Append{a})[0]
		if err == nil {
			s.monitor.committed(a.RunID, a.Entry)
			s.must(s.monitor.waitsChanged(a.RunID, a.Waits))
			if s.faulty() && s.dice.chance(s.world.diskFails) || sv.journalDown() {
				err = unavailable
			}
		}
		sv.later(s.dice.between(0, 300*time.Microsecond), func() { done(err) })
	})
}

func marshal(e *messages.Entry) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		panic(err)
	}
	return data
}
