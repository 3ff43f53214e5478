package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Runs that wait for placement stand in lines, by what they wait for: see package
// run. The host has the first of each line in memory, which ask placement; the
// others are parked: they wait in the journal. As those in memory are placed, the
// next ones are read, in the order in which they became ready. So however many
// wait, memory and placement hold but some, and of each line, and so of each
// priority, some in any case.

// line is the runs of this server that wait for the same.
type line struct {
	name int64
	// asking is the weight of the activations that ask, heavy that of the one which
	// joined them last.
	asking, heavy int
	// parked: the journal may have runs of it after the place, which are not in
	// memory.
	parked bool
	place  journal.Place
	// reading: the next are being read. stored is set if something was parked
	// meanwhile, back is the first place of that.
	reading, stored bool
	back            journal.Place
}

// parking is the first entry of a parked run on its way.
type parking struct {
	starting *Starting
	state    *run.State
	// more are starts of the same run that came meanwhile.
	more []*Starting
}

// lineNamed returns the line of a name, which is made if need be.
func (h *Host) lineNamed(name int64) *line {
	l := h.lines[name]
	if l == nil {
		l = &line{name: name}
		h.lines[name] = l
	}
	return l
}

// lineOfStart is the line of a run that is about to be started, and as far as is
// known was not; nil if it stands in none.
func (h *Host) lineOfStart(s *Starting) *line {
	if s.stored || s.Message.Cancel != nil || s.Message.Signal != nil {
		return nil
	}
	name := run.LineOf(s.Def, s.Message.Start)
	if name == 0 {
		return nil
	}
	return h.lineNamed(name)
}

// weight is how many runs one with so many bytes counts for.
func weight(bytes int) int { return 1 + bytes/LineBytes }

// window is the weight of the runs of a line that may ask.
func (h *Host) window() int {
	return max(h.cfg.LineLeast, h.cfg.LineMax/max(1, len(h.lines)))
}

// full says that no further run is to ask. While some are parked others do not
// come before them, but for a part of the window that is to keep workers busy
// until the next ones are read.
func (h *Host) full(l *line) bool {
	window := h.window()
	if l.parked {
		window /= 4
	}
	return l.asking >= window || h.asking >= h.cfg.LineMax && l.asking >= h.cfg.LineLeast
}

// join counts an activation in a line, by the bytes that it keeps in memory.
func (h *Host) join(a *Activation, l *line, bytes int) {
	a.line, a.weight = l, weight(bytes)
	l.heavy = a.weight
	l.asking += a.weight
	h.asking += a.weight
}

// leaveLine says that an activation does not ask any more.
func (h *Host) leaveLine(a *Activation) {
	if l := a.line; l != nil {
		a.line = nil
		l.asking -= a.weight
		h.asking -= a.weight
		h.fill(l)
	}
}

// lining handles what concerns the lines; false for other inputs.
func (h *Host) lining(in Input, now time.Time) bool {
	switch in := in.(type) {
	case Parked:
		h.parked(in, now)
	case Lined:
		h.lined(in)
	default:
		return false
	}
	return true
}

// lined counts an activation where it asks now, or parks it. One that came from
// the journal, in its turn, stays.
func (h *Host) lined(in Lined) {
	a := in.Activation
	if h.active.Get(a.RunID) != a || a.line != nil && a.line.name == in.Line {
		return
	}
	h.leaveLine(a)
	if in.Line == 0 {
		return
	}
	l := h.lineNamed(in.Line)
	if h.full(l) {
		h.tell(a, run.Park{}, nil)
		return
	}
	h.join(a, l, in.Bytes)
}

// startParked starts a run in the journal alone.
func (h *Host) startParked(s *Starting, now time.Time) {
	p := &parking{starting: s}
	var entry *messages.Entry
	p.state, entry = run.StartParked(s.Message.RunId, s.Def, s.Message.Start, now)
	h.parking[s.Message.RunId] = p
	h.act(AppendParked{State: p.state, Entry: entry, of: p})
}

// parked ends a start. One that conflicts is done again, by an activation.
func (h *Host) parked(in Parked, now time.Time) {
	p := in.Of.of
	delete(h.parking, p.state.RunID)
	if in.Err == nil {
		h.waits(p.state, now)
	}
	h.gone(p)
	if reply := p.starting.Answered(run.Reply{Err: in.Err}); reply != nil {
		h.act(StartDone{Starting: p.starting, Reply: reply})
	} else {
		h.start(p.starting, now)
	}
	for _, s := range p.more {
		if s.Message == p.starting.Message && in.Err == nil {
			// It was asked for again because the journal took its time.
			h.act(StartDone{Starting: s, Reply: &messages.StartRunReply{Existed: true}})
			continue
		}
		s.stored = s.stored || in.Err == nil
		h.start(s, now)
	}
}

// waits notes a run that is stored as parked.
func (h *Host) waits(s *run.State, now time.Time) {
	d := s.Dormant
	if d.GetLine() == 0 || s.Ended() || !h.owned[h.cfg.ShardOf(s.RunID)] {
		return
	}
	if d.WakeAtUs != 0 {
		h.kick(time.UnixMicro(d.WakeAtUs), now)
	}
	l := h.lineNamed(d.Line)
	at := journal.Place{Since: time.UnixMicro(d.LineSinceUs)}
	if !l.stored || at.Before(l.back) {
		l.stored, l.back = true, at
	}
	h.fill(l)
}

// leftParked notes a run that has left memory, and whose turn it may have been.
func (h *Host) leftParked(a *Activation, now time.Time) {
	if a.m != nil {
		h.waits(a.m.State(), now)
	}
}

// fill reads the next runs of a line when half of the window is free.
func (h *Host) fill(l *line) {
	if l.reading {
		return
	}
	if l.stored {
		if !l.parked || l.back.Before(l.place) {
			l.place = l.back
		}
		l.parked, l.stored = true, false
	}
	switch window := h.window(); {
	case l.parked && l.asking <= window/2:
		l.reading = true
		l.read(h, time.Time{})
	case !l.parked && l.asking == 0 && h.lines[l.name] == l:
		delete(h.lines, l.name)
	}
}

func (l *line) read(h *Host, _ time.Time) {
	h.ask(Read{Query: ReadInLine, Shards: h.ownedShards(), Line: l.name, Place: l.place,
		Limit: max(1, min(h.cfg.PageSize, (h.window()-l.asking)/max(1, l.heavy)))}, l)
}

// record admits a run whose turn it is.
func (l *line) record(h *Host, in Record) {
	row := &in.Loaded.Record.Row
	bytes := 0
	for _, entry := range in.Loaded.Record.Entries {
		bytes += len(entry)
	}
	l.place = row.Place()
	a := h.active.Get(row.RunID)
	switch {
	case h.lines[l.name] != l || !h.owned[h.cfg.ShardOf(row.RunID)]:
	case a == nil:
		h.join(h.spawn(&Activation{RunID: row.RunID, read: &in.Loaded, mark: in.Of.mark, inTurn: true}), l, bytes)
	case a.line == nil:
		h.tell(a, run.Admit{}, nil)
		h.join(a, l, bytes)
	}
}

func (l *line) page(h *Host, in Page, _ time.Time) {
	switch {
	case in.Err != nil:
		h.readAgain(in, l)
		return
	case h.lines[l.name] != l:
		return
	}
	l.reading = false
	l.parked = in.Count == in.Of.Limit
	h.fill(l)
}

// lineSearch finds the lines of shards in which runs are parked.
type lineSearch struct{ shards []int }

func (s *lineSearch) read(h *Host, _ time.Time) {
	h.ask(Read{Query: ReadLines, Shards: s.shards}, s)
}

func (s *lineSearch) page(h *Host, in Page, _ time.Time) {
	if in.Err != nil {
		h.readAgain(in, s)
		return
	}
	for _, name := range in.Lines {
		l := h.lineNamed(name)
		l.stored, l.back = true, journal.Place{}
		h.fill(l)
	}
}
