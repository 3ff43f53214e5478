package run

import (
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// Streams of steps: what they write piece by piece. The pieces are not in the history;
// what is, is who writes.
//
//	a section     What one attempt writes to a stream. It begins with an entry, before
//	              the attempt writes its first piece, and is over with the entry that
//	              ends the attempt, be that lost, suspended or done. The store takes
//	              pieces for it only in between: so what is left of an old attempt, or
//	              of an old owner of the run, writes nothing.
//	one writer    A stream has one section at most that is not over. Another step that
//	              wants to write meanwhile is refused.
//	a new attempt begins a new section. What it writes again, readers get again, after
//	              a seam that they see: the number of the section, and the attempt.
//
// That no piece comes twice over all attempts cannot be had: what a step writes may
// differ each time. What is to be written once is written within a Do: once that is
// recorded it is not called again, and what it wrote was stored before.

// Stream is one that steps of the run have written to, as the history knows it.
type Stream struct {
	Name string
	// Section is its newest section, of that attempt.
	Section int32
	Step    string
	Attempt int32
	// Open: the attempt may still write.
	Open bool
}

// StreamChange is a section that begins with an entry, or is over with it.
type StreamChange struct {
	Stream  string
	Section int32
	// Step and Attempt of one that begins.
	Step    string
	Attempt int32
	Over    bool
}

// stream is the stream of a name; nil if there is none.
func (s *State) stream(name string) *Stream {
	for i := range s.Streams {
		if s.Streams[i].Name == name {
			return &s.Streams[i]
		}
	}
	return nil
}

// applyOpened folds the beginning of a section.
func (s *State) applyOpened(k *messages.StreamOpened) {
	opened := Stream{Name: k.Stream, Section: k.Section, Step: k.Step, Attempt: k.Attempt, Open: true}
	if before := s.stream(k.Stream); before != nil {
		*before = opened
	} else {
		s.Streams = append(s.Streams, opened)
	}
	s.streamChanges = append(s.streamChanges, StreamChange{Stream: k.Stream, Section: k.Section, Step: k.Step, Attempt: k.Attempt})
}

// closeStreams ends the sections of attempts that are not live any more.
func (s *State) closeStreams() {
	for i := range s.Streams {
		of := &s.Streams[i]
		if !of.Open {
			continue
		}
		if st := s.Step(of.Step); st.Phase == Live && st.Attempt == of.Attempt {
			continue
		}
		of.Open = false
		begun := slices.IndexFunc(s.streamChanges, func(c StreamChange) bool { return c.Stream == of.Name && c.Section == of.Section })
		if begun >= 0 {
			s.streamChanges[begun].Over = true
			continue
		}
		s.streamChanges = append(s.streamChanges, StreamChange{Stream: of.Name, Section: of.Section, Over: true})
	}
}

// takeStreamChanges are what the events since the last entry have changed.
func (s *State) takeStreamChanges() []StreamChange {
	changes := s.streamChanges
	s.streamChanges = nil
	return changes
}

// openStream lets a live attempt write to a stream. The answer comes once its section
// is durable.
func (m *Machine) openStream(in OpenStream) {
	msg := in.Message
	_, err := m.calling(msg.Step, msg.Attempt, msg.Epoch)
	var section int32
	if err == nil {
		section, err = m.sectionFor(msg)
	}
	m.later(Reply{Token: in.Token, Section: section, Err: err})
	m.dieBehind(err)
}

// sectionFor is the section of a live attempt, which begins if it has none yet.
func (m *Machine) sectionFor(msg *messages.OpenStream) (int32, error) {
	section := int32(1)
	switch of := m.s.stream(msg.Stream); {
	case of == nil && len(m.s.Streams) >= messages.StreamsMax:
		return 0, messages.Errorf(messages.CodeLimitExceeded, "stream %q of run %s: the run has %d streams, more than StreamsMax = %d cannot be",
			msg.Stream, m.s.RunID, len(m.s.Streams), messages.StreamsMax)
	case of == nil:
	case of.Open && (of.Step != msg.Step || of.Attempt != msg.Attempt):
		return 0, messages.Errorf(messages.CodeStreamInUse, "stream %q of run %s is written by step %q, attempt %d: step %q cannot write to it meanwhile",
			msg.Stream, m.s.RunID, of.Step, of.Attempt, msg.Step)
	case of.Open:
		return of.Section, nil
	default:
		section = of.Section + 1
	}
	m.emit(&messages.Event{Kind: &messages.Event_StreamOpened{StreamOpened: &messages.StreamOpened{
		Step: msg.Step, Attempt: msg.Attempt, Stream: msg.Stream, Section: section}}})
	return section, nil
}
