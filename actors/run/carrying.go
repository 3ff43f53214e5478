package run

import (
	"maps"
	"slices"
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// The history of a run that goes on as new is bounded: the newest LinksKept links and
// the present one stay in the journal, and earlier entries are deleted.
//
//	each change-over    carries what stays of the run, so that a history may begin with
//	                    its entry. Steps begin anew, so that it is little.
//	what was cut        The entries before a change-over, in the append of a later one.
//	                    Those of messages that were not received are kept aside: the
//	                    payload of a message is in its entry alone. What was written to
//	                    streams goes with the entries that let it be written.
//	what is folded      from the entries that are left is the same state, once there is a
//	                    change-over after the first one (I20).
//
// A history that a version before this wrote is cut when LinksKept links have followed.

// linksKept is the default of Config.LinksKept.
const linksKept = 10

// linksShown is how many links are known after their entries were cut.
const linksShown = 100

// Link is a link of the chain of a run that went on as new.
type Link struct {
	// Entry is the number of its first entry, At when that was written.
	Entry uint64
	At    time.Time
	// Step had the run go on.
	Step    string
	carried bool
}

// Links are the newest links, the present one last, and the number of the first of them in
// the chain; none of a run that has not gone on.
func (s *State) Links() (first int, links []Link) {
	if s.Continued == 0 {
		return 0, nil
	}
	first, links = s.Continued+2-len(s.links), s.links
	if first == 2 && len(links) < linksShown {
		first, links = 1, append([]Link{{Entry: 1, At: s.CreatedAt}}, links...)
	}
	return first, links
}

func (s *State) addLink(l Link) {
	s.links = append(slices.Clone(s.links[max(0, len(s.links)+1-linksShown):]), l)
}

// mayOutlive says that a child may go on, and then ends with the run.
func (c *Child) mayOutlive() bool {
	return !c.ended && c.OnParentEnd != messages.ParentEnd_PARENT_END_LEAVE
}

// keepChildren forgets those of earlier links that nothing is to be done about. Their keys
// mean nothing any more.
func (s *State) keepChildren() {
	s.childAt = nil
	s.Children = slices.DeleteFunc(slices.Clone(s.Children), func(c Child) bool { return !c.mayOutlive() })
	for i := range s.Children {
		s.Children[i].try = 0
	}
	if len(s.Children) == 0 {
		s.Children = nil
	}
}

// applyChildEnd notes that a child has ended.
func (s *State) applyChildEnd(end *messages.ChildEnd) {
	for i := range s.Children {
		if end != nil && s.Children[i].RunID == end.ChildRun {
			s.Children[i].ended = true
		}
	}
}

// begin prepares for a first entry: of a history that was cut it leaves out what came
// before the change-over.
func (s *State) begin(e *messages.Entry) *messages.Entry {
	link := FromLink(e)
	if len(link.Events) == 0 {
		return e
	}
	if c := link.Events[0].GetRunContinued().GetCarried(); c != nil && c.Entry > 1 && c.Started != nil {
		s.Number = c.Entry - 1
		return link
	}
	return e
}

// FromLink leaves out what came before a change-over in its entry: for whoever reads a
// history whose first entry is one.
func FromLink(e *messages.Entry) *messages.Entry {
	for i, ev := range e.Events {
		if ev.GetRunContinued() != nil {
			return &messages.Entry{AtUs: e.AtUs, Events: e.Events[i:]}
		}
	}
	return e
}

// cut says which entries the run can do without when it has just gone on as new: up to a
// number, but for some.
func (s *State) cut(linksKept int) (cut uint64, kept []uint64) {
	at := len(s.links) - 1 - linksKept
	if at < 0 || !s.links[at].carried || s.links[at].Entry < 2 {
		return 0, nil
	}
	cut = s.links[at].Entry - 1
	kept = s.LetterEntries()
	return cut, kept[:sort.Search(len(kept), func(i int) bool { return kept[i] > cut })]
}

// carried is what a run keeps that goes on as new at a time.
func (s *State) carried(step string, at time.Time) *messages.Carried {
	started := proto.Clone(s.Start).(*messages.RunStarted)
	started.Input = s.startInput()
	c := &messages.Carried{
		Entry: s.Number + 1, Started: started, CreatedUs: micros(s.CreatedAt), Epoch: s.Epoch, WorkedEpoch: s.WorkedEpoch,
		WorkedWorker: s.workedWorker, StateLost: s.StateLost, Handed: s.Handed, Generation: int64(s.Generation + 1), Replays: s.replays,
		ReplayedUs: micros(s.ReplayedAt), AwaitsEvents: s.awaitsEvents, WaitTurns: s.waitTurns, Link: int64(s.Continued + 1),
	}
	if b := &s.Binding; b.Worker != nil {
		c.Binding = &messages.CarriedBinding{Worker: b.Worker, Reason: b.Reason, SinceUs: micros(b.Since),
			Lost: b.Lost, LostReason: b.LostReason, LostUs: micros(b.LostAt), AwayUs: b.Away.Microseconds()}
	}
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Attempt > 0 {
			c.Steps = append(c.Steps, &messages.CarriedStep{Step: st.Def.Name, Attempt: st.Attempt, Lost: st.lost})
		}
	}
	for i := range s.Children {
		if k := &s.Children[i]; k.mayOutlive() {
			c.Children = append(c.Children, &messages.ChildSpawned{Step: k.Step, Key: k.Key, ChildRun: k.RunID, Workflow: k.Workflow,
				DefinitionHash: k.DefinitionHash, InputHash: k.InputHash, Sticky: k.Sticky, OnParentEnd: k.OnParentEnd, KeepOnCancel: k.KeepOnCancel, Attempt: k.attempt})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.mailbox)) {
		for _, l := range s.mailbox[name] {
			hash, _ := s.signaled.of(l.id)
			c.Messages = append(c.Messages, &messages.CarriedMessage{Name: name, MessageId: l.id, Entry: l.entry, Hash: hash})
		}
	}
	for _, of := range s.Streams {
		c.Streams = append(c.Streams, &messages.CarriedStream{Stream: of.Name, Section: of.Section, Step: of.Step, Attempt: of.Attempt})
	}
	for _, l := range append(slices.Clone(s.links[max(0, len(s.links)+1-linksShown):]), Link{Entry: c.Entry, At: at, Step: step}) {
		c.Links = append(c.Links, &messages.CarriedLink{Entry: l.Entry, BeganUs: micros(l.At), Step: l.Step})
	}
	return c
}

// restore makes a run as it was before it went on as new, as far as that stays.
func (s *State) restore(c *messages.Carried) {
	s.Start, s.Status, s.CreatedAt = c.Started, messages.RunStatus_RUN_STATUS_RUNNING, fromMicros(c.CreatedUs)
	s.Epoch, s.WorkedEpoch, s.workedWorker, s.StateLost, s.Handed = c.Epoch, c.WorkedEpoch, c.WorkedWorker, c.StateLost, c.Handed
	s.Generation, s.replays, s.ReplayedAt = int(c.Generation-1), c.Replays, fromMicros(c.ReplayedUs)
	s.awaitsEvents, s.waitTurns = c.AwaitsEvents, c.WaitTurns
	s.Continued, s.firstInput = int(c.Link-1), c.Started.Input
	if b := c.Binding; b != nil {
		s.Binding = Binding{Worker: b.Worker, Epoch: c.Epoch, Reason: b.Reason, Since: fromMicros(b.SinceUs),
			Lost: b.Lost, LostReason: b.LostReason, LostAt: fromMicros(b.LostUs), Away: time.Duration(b.AwayUs) * time.Microsecond}
	}
	for _, k := range c.Steps {
		if st := s.Step(k.Step); st != nil {
			st.Attempt, st.lost = k.Attempt, k.Lost
		}
	}
	for _, k := range c.Children {
		s.applySpawned(k)
	}
	for _, l := range c.Messages {
		if s.mailbox == nil {
			s.mailbox = map[string][]letter{}
		}
		s.mailbox[l.Name] = append(s.mailbox[l.Name], letter{l.MessageId, l.Entry})
		s.signaled.note(l.MessageId, l.Hash)
		s.unread++
	}
	for _, of := range c.Streams {
		s.Streams = append(s.Streams, Stream{Name: of.Stream, Section: of.Section, Step: of.Step, Attempt: of.Attempt})
	}
	for _, l := range c.Links[:max(0, len(c.Links)-1)] {
		s.links = append(s.links, Link{Entry: l.Entry, At: fromMicros(l.BeganUs), Step: l.Step})
	}
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}
