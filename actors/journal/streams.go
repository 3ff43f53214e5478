package journal

import (
	"cmp"
	"context"

	"github.com/limpetrun/limpet/messages"
)

// Streams of runs: what steps write piece by piece, beside the history. A run is loaded
// without them, and deleted with them.
//
// What one attempt writes to a stream is a section of it. A section begins with an
// entry of the run and is over with the one that ends the attempt: so who may write is
// decided by the compare-and-swap of the history. The store takes pieces for a section
// only until that entry is durable, and only the next ones: nothing that an old
// attempt, or an old owner of the run, still sends gets in.
//
//	S1  the pieces of a section are numbered from 1, without a gap, and are never
//	    changed
//	S2  no piece is added to a section that is over
//	S3  what was stored is there until its run is deleted, or the link of the run that
//	    wrote it is cut: with the entries that an append cuts go the sections that began
//	    with them, but the newest one of each stream, whose number goes on counting

// StreamChange is a section that begins with an entry, or is over with it. One that is
// there already does not begin again; what is not there is not over.
type StreamChange struct {
	Stream  string
	Section int32
	// Step and Attempt that write it; no Attempt for one that is there already.
	Step    string
	Attempt int32
	Over    bool
}

// StreamSection is what is stored of a section.
type StreamSection struct {
	Stream  string
	Section int32
	Step    string
	Attempt int32
	// Pieces are numbered up to this.
	Pieces uint64
	Bytes  int64
	Over   bool
}

// StreamWrite is pieces of a section that follow each other.
type StreamWrite struct {
	RunID   string
	Stream  string
	Section int32
	// Step and Attempt are those of the section.
	Step    string
	Attempt int32
	// First is the number of the first piece.
	First  uint64
	Pieces [][]byte
	// BytesMax is how much the run may write in all.
	BytesMax int64
}

// StreamWritten is what became of a StreamWrite.
type StreamWritten struct {
	// Stored is how many pieces the section has, Bytes and Pieces what the run has
	// written in all.
	Stored        uint64
	Bytes, Pieces int64
	Err           error
}

// StreamPlace is a piece of a stream: the one that is wanted next.
type StreamPlace struct {
	Section int32
	Number  uint64
}

// StreamPieces are pieces of one section that follow each other.
type StreamPieces struct {
	Section int32
	First   uint64
	Pieces  [][]byte
	Step    string
	Attempt int32
}

// StreamPage is a part of a stream.
type StreamPage struct {
	Pieces []StreamPieces
	// At is the section of the place that was asked for; the zero value if there is
	// none. Oldest and Newest are the numbers of the oldest and newest section that are
	// there; 0 for none.
	At             StreamSection
	Oldest, Newest int32
}

// StreamInfo is one stream as a whole.
type StreamInfo struct {
	Name string
	// Pieces and Bytes of all its sections.
	Pieces, Bytes int64
	// Newest is its newest section.
	Newest StreamSection
}

// StreamStore keeps the streams of runs.
type StreamStore interface {
	// WriteStreams makes pieces durable in one commit and returns what became of each
	// element, in order. What is stored already is left out, so that the same may be
	// written again. Errors: STALE_ATTEMPT for a section that is over, not there, or of
	// another attempt, unless it has all the pieces; INVALID_ARGUMENT for pieces that
	// are not the next; LIMIT_EXCEEDED beyond BytesMax or StreamPiecesMax. None of them
	// harms the others. A failure of the whole commit is returned for every element, and
	// nothing is known of any.
	WriteStreams(ctx context.Context, batch []StreamWrite) []StreamWritten

	// ReadStream returns pieces from a place on, in order: at least one if there are
	// any, and no more than about bytesMax bytes. UNKNOWN_RUN if there is no such run.
	ReadStream(ctx context.Context, runID, stream string, from StreamPlace, bytesMax int) (StreamPage, error)

	// Streams returns the streams of a run, ordered by name. A run that is not there has
	// none.
	Streams(ctx context.Context, runID string) ([]StreamInfo, error)
}

// StreamInfos gathers sections, in the order of streams and numbers, by stream.
func StreamInfos(sections []StreamSection) (out []StreamInfo) {
	for _, section := range sections {
		if len(out) == 0 || out[len(out)-1].Name != section.Stream {
			out = append(out, StreamInfo{Name: section.Stream})
		}
		info := &out[len(out)-1]
		info.Pieces, info.Bytes, info.Newest = info.Pieces+int64(section.Pieces), info.Bytes+section.Bytes, section
	}
	return out
}

// StreamKey names a section among those of all runs.
type StreamKey struct {
	RunID, Stream string
	Section       int32
}

// Key of the section that is written to.
func (w *StreamWrite) Key() StreamKey { return StreamKey{w.RunID, w.Stream, w.Section} }

// StreamTotals are what a run has written in all.
type StreamTotals struct{ Bytes, Pieces int64 }

// AdmitStreams decides what of a batch is stored: all stores decide by it. sections and
// totals are what is stored, of those that the batch names; they are brought up to
// date. What is to be added comes back, in order, with what became of each element.
func AdmitStreams(batch []StreamWrite, sections map[StreamKey]*StreamSection, totals map[string]*StreamTotals) (add []StreamWrite, out []StreamWritten) {
	out = make([]StreamWritten, len(batch))
	for i := range batch {
		w := batch[i]
		total := totals[w.RunID]
		if total == nil {
			total = &StreamTotals{}
			totals[w.RunID] = total
		}
		section := sections[w.Key()]
		fresh, err := section.admit(&w, total)
		if err == nil && len(fresh) > 0 {
			w.First, w.Pieces = section.Pieces+1, fresh
			section.add(fresh, total)
			add = append(add, w)
		}
		out[i] = StreamWritten{Bytes: total.Bytes, Pieces: total.Pieces, Err: err}
		if section != nil {
			out[i].Stored = section.Pieces
		}
	}
	return add, out
}

// admit returns the pieces that are new.
func (s *StreamSection) admit(w *StreamWrite, total *StreamTotals) (fresh [][]byte, err error) {
	stale := func(why string) error {
		return messages.Errorf(messages.CodeStaleAttempt, "attempt %s/%s#%d may not write to section %d of stream %q: %s", w.RunID, w.Step, w.Attempt, w.Section, w.Stream, why)
	}
	switch {
	case s == nil:
		return nil, stale("it has not begun")
	case s.Step != w.Step || s.Attempt != w.Attempt:
		return nil, stale("it is another attempt's")
	case w.First == 0:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "pieces of stream %q of run %s have the number 0: they count from 1", w.Stream, w.RunID)
	case w.Last() <= s.Pieces:
		return nil, nil
	case s.Over:
		return nil, stale("it is over")
	case w.First > s.Pieces+1:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "section %d of stream %q of run %s has %d pieces: the next is not number %d", w.Section, w.Stream, w.RunID, s.Pieces, w.First)
	}
	fresh = w.Pieces[s.Pieces+1-w.First:]
	bytes, pieces := total.Bytes+bytesOf(fresh), total.Pieces+int64(len(fresh))
	return fresh, CheckStreamTotals(w.RunID, bytes, pieces, w.BytesMax)
}

// CheckStreamTotals returns LIMIT_EXCEEDED if a run may not have written so much.
func CheckStreamTotals(runID string, bytes, pieces, bytesMax int64) error {
	switch {
	case bytes > bytesMax:
		return messages.Errorf(messages.CodeLimitExceeded, "run %s would have %d bytes of streams, more than StreamBytesMax = %d", runID, bytes, bytesMax)
	case pieces > messages.StreamPiecesMax:
		return messages.Errorf(messages.CodeLimitExceeded, "run %s would have %d pieces of streams, more than StreamPiecesMax = %d", runID, pieces, messages.StreamPiecesMax)
	}
	return nil
}

func (s *StreamSection) add(fresh [][]byte, total *StreamTotals) {
	bytes := bytesOf(fresh)
	s.Pieces += uint64(len(fresh))
	s.Bytes += bytes
	total.Bytes += bytes
	total.Pieces += int64(len(fresh))
}

func bytesOf(pieces [][]byte) (n int64) {
	for _, p := range pieces {
		n += int64(len(p))
	}
	return n
}

// Bytes of the pieces.
func (w *StreamWrite) Bytes() int64 { return bytesOf(w.Pieces) }

// Last is the number of the last piece.
func (w *StreamWrite) Last() uint64 { return w.First + uint64(len(w.Pieces)) - 1 }

// Compare orders places.
func (p StreamPlace) Compare(other StreamPlace) int {
	return cmp.Or(cmp.Compare(p.Section, other.Section), cmp.Compare(p.Number, other.Number))
}

// EncodePieces is the form in which stores keep pieces, DecodePieces reads it: those
// from a number on, of which first is that of the first.
func EncodePieces(pieces [][]byte) ([]byte, error) {
	return messages.Marshal(&messages.StreamPieces{Pieces: pieces})
}

// DecodePieces reads what EncodePieces has written, and leaves out what is before the
// place.
func DecodePieces(data []byte, section int32, first uint64, from StreamPlace) (StreamPieces, error) {
	stored := new(messages.StreamPieces)
	if err := messages.Unmarshal(data, stored); err != nil {
		return StreamPieces{}, messages.Errorf(messages.CodeJournalCorrupt, "pieces %d.%d of a stream: %w", section, first, err)
	}
	p := StreamPieces{Section: section, First: first, Pieces: stored.Pieces}
	if section == from.Section && from.Number > first {
		skip := min(from.Number-first, uint64(len(p.Pieces)))
		p.First, p.Pieces = first+skip, p.Pieces[skip:]
	}
	return p, nil
}
