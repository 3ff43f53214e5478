package projection

import (
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages/api"
)

// StreamChanges are what an entry changes of streams, as the journal has it.
func StreamChanges(changes []run.StreamChange) (all []journal.StreamChange) {
	for _, c := range changes {
		all = append(all, journal.StreamChange{Stream: c.Stream, Section: c.Section, Step: c.Step, Attempt: c.Attempt, Over: c.Over})
	}
	return all
}

// Streams of a run, as the API shows them.
func Streams(stored []journal.StreamInfo) (all []*api.Stream) {
	for _, s := range stored {
		all = append(all, &api.Stream{Name: s.Name, Sections: s.Newest.Section, Pieces: s.Pieces, Bytes: s.Bytes,
			Step: s.Newest.Step, Attempt: s.Newest.Attempt, NewestPieces: int64(s.Newest.Pieces), Open: !s.Newest.Over})
	}
	return all
}
