package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/stream"
	"github.com/limpetrun/limpet/messages"
)

// Functions of steps write to streams, in the first half of what they take, and have all of
// it stored before a call of theirs is recorded, before they wait, and before they return.
// What they have written they go on sending when they are over, canceled or called lost: it
// is for the store to refuse it. Readers follow each stream by any server.

const (
	// streamSeeds is where the seeds of such steps begin.
	streamSeeds = 785 << 40
	// readEvery is how often a reader looks at most, readPage how much it is given.
	readEvery = 2 * time.Second
	readPage  = 200
)

// telling is what attempts have told of their progress, by number, and write to streams; and
// who reads these.
type telling struct {
	told    map[string]int64
	writers map[string]*writer
	readers map[string]*reader
}

func newTelling() telling {
	return telling{map[string]int64{}, map[string]*writer{}, map[string]*reader{}}
}

// drawStreams says how much steps write, and where to.
func (s *Sim) drawStreams(d dice) {
	s.reads = d
	if !d.chance(0.4) {
		return
	}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			b := def.steps[st.Name]
			b.writes, b.stream = pick(d, []int{0, 1, 3, 20}), pick(d, []string{"x", "x", "y"})
		}
	}
}

// writer is the stream that a function writes, around the real core of its buffer.
type writer struct {
	f      *function
	name   string
	buffer stream.Buffer
	// wrote is how many pieces the function has written.
	wrote uint64
	// section of the attempt; 0 before its run has answered.
	section int32
	sending bool
	// failure is why nothing more is sent.
	failure *messages.Failure
	// waits are called when all is stored, or nothing more will be.
	waits []func()
}

// writes has a function write as often as it is planned to.
func (f *function) writes() {
	if f.plan.writes == 0 {
		return
	}
	f.writer = &writer{f: f, name: f.plan.stream}
	f.w.sim.monitor.writers[f.key()] = f.writer
	for i := range f.plan.writes {
		f.w.later(f.plan.takes/2*time.Duration(i)/time.Duration(f.plan.writes), f.writer.write)
	}
}

// write is a piece that names the attempt and its number in it.
func (w *writer) write() {
	f := w.f
	if f.over || f.canceled || !f.w.alive || w.failure != nil {
		return
	}
	w.wrote++
	w.buffer.Add(f.w.sim.now, pieceOf(f.key(), w.wrote))
	if !w.sending {
		w.sending = true
		f.w.later(stream.Gather, w.send)
	}
}

func pieceOf(attempt string, number uint64) []byte { return fmt.Appendf(nil, "%s:%d", attempt, number) }

// send sends what is there, batch after batch.
func (w *writer) send() {
	switch {
	case w.failure != nil || w.buffer.Empty():
		w.sending = false
		for _, wait := range w.waits {
			w.f.w.later(0, wait)
		}
		w.waits = nil
	case w.section == 0:
		w.open()
	default:
		w.store()
	}
}

func (w *writer) open() {
	d := w.f.d
	msg := &messages.OpenStream{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Epoch: d.Epoch, Stream: w.name}
	w.f.w.call(d.RunId, livesFor, func(sv *server, reply func(any)) {
		sv.deliver(d.RunId, msg, asker(func(answer any) {
			if f := answer.(callAnswer).GetError(); f == nil || !messages.Code(f.Code).Retryable() || f.Code == string(messages.CodeStaleAttempt) {
				reply(answer)
			}
		}))
	}, func(answer any) {
		switch reply, ok := answer.(*messages.OpenStreamReply); {
		case !ok:
			w.failure = messages.ToFailure(unavailable)
		case reply.Error != nil:
			w.failure = reply.Error
			w.f.w.sim.must(w.f.w.sim.monitor.openRefused(w, messages.FromFailure(reply.Error)))
		default:
			w.section = reply.Section
		}
		w.send()
	})
}

// store has one batch stored, which is sent until it is answered.
func (w *writer) store() {
	d, s := w.f.d, w.f.w.sim
	first, pieces := w.buffer.Take(s.now)
	write := journal.StreamWrite{RunID: d.RunId, Stream: w.name, Section: w.section, Step: d.Step, Attempt: d.Attempt,
		First: first, Pieces: pieces, BytesMax: messages.StreamBytesMax}
	w.f.w.call(d.RunId, livesFor, func(sv *server, reply func(any)) { s.store.writeStream(sv, write, reply) }, func(answer any) {
		switch out, ok := answer.(journal.StreamWritten); {
		case !ok:
			w.failure = messages.ToFailure(unavailable)
		case out.Err != nil:
			w.failure = messages.ToFailure(out.Err)
		default:
			w.buffer.Stored(out.Stored, messages.StreamBytesMax-out.Bytes, messages.StreamPiecesMax-out.Pieces)
		}
		w.send()
	})
}

// flushed calls then once all that the function has written is stored, or nothing more
// will be.
func (f *function) flushed(then func()) {
	if w := f.writer; w != nil && w.failure == nil && !w.buffer.Empty() {
		w.waits = append(w.waits, func() { f.flushed(then) })
		return
	}
	then()
}

// streamed says that nothing of what the function has written is on its way; why the rest
// was refused is its failure.
func (f *function) streamed() (all bool, failure *messages.Failure) {
	if f.writer == nil {
		return true, nil
	}
	return f.writer.failure != nil || f.writer.buffer.Empty(), f.writer.failure
}

// writeStream makes pieces durable and tells the server, unless one of the two fails.
func (st *store) writeStream(sv *server, w journal.StreamWrite, reply func(any)) {
	s := st.sim
	s.after(s.dice.between(200*time.Microsecond, 2*time.Millisecond), func() {
		if !sv.alive && s.reads.chance(0.5) || s.faulty() && s.reads.chance(s.world.diskFails) || sv.journalDown() {
			return
		}
		before := s.monitor.section(w.RunID, w.Stream, w.Section)
		out := st.WriteStreams(background, []journal.StreamWrite{w})[0]
		s.must(s.monitor.streamWritten(&w, before))
		if !s.faulty() || !s.reads.chance(s.world.diskFails) {
			sv.later(s.dice.between(0, 300*time.Microsecond), func() { reply(out) })
		}
	})
}

// ---- readers -------------------------------------------------------------------

// reader follows a stream of a run.
type reader struct {
	sim    *Sim
	run    string
	stream string
	next   journal.StreamPlace
	// got is how many pieces of each section it has.
	got map[int32]uint64
}

// readStreams has each stream that is written be followed from the beginning.
func (m *monitor) readStreams(st *run.State) {
	for _, of := range st.Streams {
		key := st.RunID + "/" + of.Name
		if m.readers[key] == nil {
			r := &reader{sim: m.sim, run: st.RunID, stream: of.Name, next: journal.StreamPlace{Section: 1, Number: 1}, got: map[int32]uint64{}}
			m.readers[key] = r
			m.sim.after(m.sim.reads.between(0, readEvery), r.look)
		}
	}
}

// look reads what is there, by a server that reaches the store.
func (r *reader) look() {
	s := r.sim
	if p := s.door(); p != nil && !p.server.journalDown() {
		s.must(r.read())
	}
	s.after(s.reads.between(readEvery/10, readEvery), r.look)
}

// read checks that what follows is the next piece of the section, or the first of a later
// one.
func (r *reader) read() error {
	page, err := r.sim.store.ReadStream(background, r.run, r.stream, r.next, readPage)
	if err != nil {
		return err
	}
	if page.At.Section == 0 && r.next.Section < page.Oldest {
		r.sim.monitor.counts.StreamsCut++
		r.next = journal.StreamPlace{Section: page.Oldest, Number: 1}
		return r.read()
	}
	for _, p := range page.Pieces {
		at := journal.StreamPlace{Section: p.Section, Number: p.First}
		if at != r.next && (p.Section <= r.next.Section || p.First != 1) {
			return fmt.Errorf("a reader of stream %s of %s gets piece %v, next is %v", r.stream, r.run, at, r.next)
		}
		for i, piece := range p.Pieces {
			if want := pieceOf(attemptKey(r.run, p.Step, p.Attempt), p.First+uint64(i)); string(piece) != string(want) {
				return fmt.Errorf("piece %d.%d of stream %s of %s is %q, want %q", p.Section, p.First+uint64(i), r.stream, r.run, piece, want)
			}
		}
		r.sim.monitor.counts.PiecesRead += len(p.Pieces)
		r.got[p.Section] += uint64(len(p.Pieces))
		r.next = journal.StreamPlace{Section: p.Section, Number: p.First + uint64(len(p.Pieces))}
	}
	return nil
}

// ---- what is checked -------------------------------------------------------------

// section is what is stored of one.
func (m *monitor) section(runID, name string, number int32) journal.StreamSection {
	page, err := m.sim.store.ReadStream(background, runID, name, journal.StreamPlace{Section: number, Number: 1}, 1)
	if err != nil {
		return journal.StreamSection{}
	}
	return page.At
}

// streamWritten checks that pieces were added only to the section of a live attempt (I19),
// and that they are the next ones.
func (m *monitor) streamWritten(w *journal.StreamWrite, before journal.StreamSection) error {
	after := m.section(w.RunID, w.Stream, w.Section)
	added := after.Pieces - before.Pieces
	m.counts.PiecesStored += int(added)
	if added == 0 {
		return nil
	}
	key := attemptKey(w.RunID, w.Step, w.Attempt)
	if after.Pieces != w.Last() {
		return fmt.Errorf("%s has pieces %d to %d of stream %s stored, and then there are %d", key, w.First, w.Last(), w.Stream, after.Pieces)
	}
	st := m.runs[w.RunID]
	for _, of := range st.Streams {
		if of.Name == w.Stream && of.Section == w.Section && of.Open && of.Step == w.Step && of.Attempt == w.Attempt {
			if step := st.Step(w.Step); step.Phase == run.Live && step.Attempt == w.Attempt {
				return nil
			}
		}
	}
	return fmt.Errorf("%s writes to section %d of stream %s, which is over or another attempt's: %+v", key, w.Section, w.Stream, st.Streams)
}

// openRefused checks that the attempt that is wanted may write, unless another one does.
func (m *monitor) openRefused(w *writer, err error) error {
	if messages.CodeOf(err) == messages.CodeStreamInUse {
		return nil
	}
	return m.callRefused(w.f, err)
}

// wroteAll checks that what an attempt has written is stored when it has succeeded.
func (m *monitor) wroteAll(runID string, ev *messages.StepSucceeded) error {
	key := attemptKey(runID, ev.Step, ev.Attempt)
	w := m.writers[key]
	if w == nil {
		return nil
	}
	if stored := m.section(runID, w.name, w.section).Pieces; stored != w.wrote {
		return fmt.Errorf("%s has succeeded with %d pieces of stream %s stored, it has written %d", key, stored, w.name, w.wrote)
	}
	return nil
}

// readAll checks that each reader gets all that is stored, and no more.
func (m *monitor) readAll() error {
	for _, id := range m.order {
		for _, of := range m.runs[id].Streams {
			r := m.readers[id+"/"+of.Name]
			for number := range of.Section {
				for before := r.next; ; before = r.next {
					if err := r.read(); err != nil {
						return err
					}
					if r.next == before {
						break
					}
				}
				if s := m.section(id, of.Name, number+1); s.Section > 0 && s.Pieces != r.got[number+1] {
					return fmt.Errorf("a reader of stream %s of %s has %d pieces of section %d, %d are stored", of.Name, id, r.got[number+1], number+1, s.Pieces)
				}
			}
		}
	}
	return nil
}
