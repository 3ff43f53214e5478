package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/notify"
	"github.com/limpetrun/limpet/messages"
)

// Streams of the runs that the server owns. Workers send pieces to the host, not to the
// run: that a section is open is for the store to know, so that a run needs no turn, and
// no place in memory, for what its steps write. What arrives while a commit is in
// flight is stored in the next one. Nothing is kept here but what waits for that, in
// bounds; readers are told that there is more, and read it from the store.

const (
	// streamPageBytes bounds what is read at once.
	streamPageBytes = 256 << 10
	// streamWaitMax bounds how long a reader is kept waiting by one question.
	streamWaitMax = time.Minute
)

// streamOf names a stream.
type streamOf struct{ run, stream string }

// streams is what the host does with streams.
type streams struct {
	host     *Host
	bytesMax int64
	// stored tells the readers of a stream that there is more.
	stored  notify.Topics[streamOf, struct{}]
	batcher journal.Batcher[streamWrite]
}

// streamWrite is pieces that wait to be stored.
type streamWrite struct {
	journal.StreamWrite
	reply func(proto.Message)
}

func newStreams(h *Host) *streams {
	s := &streams{host: h, bytesMax: h.cfg.StreamBytesMax}
	s.batcher = journal.Batcher[streamWrite]{Background: h.background, Store: s.store, QueueMax: messages.StreamQueueBytesMax}
	switch {
	case s.bytesMax == 0:
		s.bytesMax = messages.StreamBytesMax
	case s.bytesMax < 0:
		s.bytesMax = math.MaxInt64
	}
	return s
}

// write answers once the pieces are durable. It does not wait.
func (s *streams) write(m *messages.WriteStream, reply func(proto.Message)) {
	w := streamWrite{reply: reply, StreamWrite: journal.StreamWrite{RunID: m.RunId, Stream: m.Stream, Section: m.Section, Step: m.Step, Attempt: m.Attempt,
		First: m.First, Pieces: m.Pieces, BytesMax: s.bytesMax}}
	if err := s.take(w); err != nil {
		reply(&messages.WriteStreamReply{Error: messages.ToFailure(err)})
	}
}

// take lets pieces wait for the next commit, or says why not.
func (s *streams) take(w streamWrite) error {
	if !s.host.owns(w.RunID) {
		return messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server", w.RunID)
	}
	bytes := int64(0)
	for _, piece := range w.Pieces {
		if err := messages.CheckStreamPiece(piece); err != nil {
			return err
		}
		bytes += int64(len(piece)) + pieceOverhead
	}
	if full := s.batcher.Take(w, 1, bytes); full > 0 {
		return messages.Errorf(messages.CodeUnavailable, "stream %q of run %s: %d bytes of streams wait for the journal, more than StreamQueueBytesMax = %d", w.Stream, w.RunID, full, messages.StreamQueueBytesMax)
	}
	return nil
}

// pieceOverhead is what a piece costs in memory beside its bytes.
const pieceOverhead = 24

// store makes pieces durable, and tells those who read what is in them. What a server
// that ends has not stored, the next one is asked for again.
func (s *streams) store(batch []streamWrite) {
	writes := make([]journal.StreamWrite, len(batch))
	for i := range batch {
		writes[i] = batch[i].StreamWrite
	}
	written := s.host.cfg.Store.WriteStreams(s.host.ctx, writes)
	seen := map[streamOf]bool{}
	for i := range batch {
		s.answer(&batch[i], written[i])
		if of := (streamOf{batch[i].RunID, batch[i].Stream}); !seen[of] {
			seen[of] = true
			s.stored.Call(of, struct{}{})
		}
	}
}

func (s *streams) answer(w *streamWrite, out journal.StreamWritten) {
	reply := &messages.WriteStreamReply{Stored: out.Stored, Error: messages.ToFailure(out.Err)}
	if out.Err == nil {
		reply.BytesLeft, reply.PiecesLeft = max(0, s.bytesMax-out.Bytes), max(0, messages.StreamPiecesMax-out.Pieces)
	}
	w.reply(reply)
}

// await answers whoever reads a stream: at once with what is there, or when there is
// more, the run has ended, or the wait is over.
func (s *streams) await(ctx context.Context, m *messages.ReadStream) *messages.ReadStreamReply {
	h := s.host
	more, cancel := s.newsOf(m)
	defer cancel()
	wait := min(time.Duration(m.WaitMs)*time.Millisecond, streamWaitMax)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		_, moved := h.moved.Watch()
		reply := s.read(ctx, m)
		if hasAnswer(reply) {
			return reply
		}
		if !h.owns(m.RunId) {
			// Who asks has another view, or will have one in a moment.
			timeout.Reset(min(elsewherePause, wait))
		}
		select {
		case <-more:
		case <-moved:
		case <-timeout.C:
			return reply
		case <-ctx.Done():
			return reply
		}
	}
}

// hasAnswer says that a reply is one that nobody waits for any longer.
func hasAnswer(r *messages.ReadStreamReply) bool {
	return r.Error != nil || r.Ended || len(r.Pieces) > 0 || r.CutTo > 0
}

// newsOf says when there is more of a stream, or another entry of its run.
func (s *streams) newsOf(m *messages.ReadStream) (more chan struct{}, cancel func()) {
	more = make(chan struct{}, 1)
	tell := func() {
		select {
		case more <- struct{}{}:
		default:
		}
	}
	pieces := s.stored.Add(streamOf{m.RunId, m.Stream}, func(struct{}) { tell() })
	entries := s.host.committer.Stored().Add(m.RunId, func(stored journal.Stored) {
		if stored.Row != nil && journal.Finished(stored.Row.Status) {
			tell()
		}
	})
	return more, func() { pieces(); entries() }
}

// read returns what is there from a place on. Any server of the store may.
func (s *streams) read(ctx context.Context, m *messages.ReadStream) *messages.ReadStreamReply {
	reply, err := s.readPage(ctx, m)
	if err != nil {
		return &messages.ReadStreamReply{Error: messages.ToFailure(err)}
	}
	return reply
}

func (s *streams) readPage(ctx context.Context, m *messages.ReadStream) (*messages.ReadStreamReply, error) {
	store := s.host.cfg.Store
	from := journal.StreamPlace{Section: max(m.Section, 1), Number: max(m.Number, 1)}
	page, err := store.ReadStream(ctx, m.RunId, m.Stream, from, streamPageBytes)
	if err != nil {
		return nil, err
	}
	if page.At.Section == 0 && from.Section < page.Oldest {
		return &messages.ReadStreamReply{CutTo: page.Oldest}, nil
	}
	over := false
	if len(page.Pieces) == 0 {
		rec, err := store.Entries(ctx, m.RunId, journal.EntriesMax, 1)
		if err != nil {
			return nil, err
		}
		if over = journal.Finished(rec.Row.Status); over {
			// What was written before the end is there now.
			if page, err = store.ReadStream(ctx, m.RunId, m.Stream, from, streamPageBytes); err != nil {
				return nil, err
			}
		}
	}
	if page.Newest == 0 && (over || !m.Follow) {
		return nil, s.unknown(ctx, m)
	}
	if err := lies(m, from, &page); err != nil {
		return nil, err
	}
	return &messages.ReadStreamReply{Pieces: piecesOf(page.Pieces), Ended: len(page.Pieces) == 0 && (over || !m.Follow)}, nil
}

// lies says that a place is ahead of what is written; nil if it is not.
func lies(m *messages.ReadStream, from journal.StreamPlace, page *journal.StreamPage) error {
	next := journal.StreamPlace{Section: max(page.At.Section, 1), Number: page.At.Pieces + 1}
	if page.At.Section == 0 && page.Newest > 0 {
		next = journal.StreamPlace{Section: page.Newest, Number: 1}
	}
	if from.Section == next.Section && from.Number <= next.Number || from.Section < next.Section {
		return nil
	}
	return messages.Errorf(messages.CodeInvalidArgument, "place %d.%d of stream %q of run %s lies ahead: the stream has %d sections, and piece %d.%d comes next",
		from.Section, from.Number, m.Stream, m.RunId, page.Newest, next.Section, next.Number)
}

// unknown names the streams that there are.
func (s *streams) unknown(ctx context.Context, m *messages.ReadStream) error {
	all, err := s.host.cfg.Store.Streams(ctx, m.RunId)
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	has := "it has none"
	if len(names) > 0 {
		has = fmt.Sprintf("it has %q", names)
	}
	if nearest := messages.Nearest(m.Stream, names); nearest != "" {
		has += fmt.Sprintf("; did you mean %q?", nearest)
	}
	return messages.Errorf(messages.CodeUnknownStream, "run %s has no stream %q: %s", m.RunId, m.Stream, has)
}

func piecesOf(stored []journal.StreamPieces) (all []*messages.StreamPieces) {
	for _, p := range stored {
		all = append(all, &messages.StreamPieces{Section: p.Section, First: p.First, Pieces: p.Pieces, Step: p.Step, Attempt: p.Attempt})
	}
	return all
}
