package sdk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Stream is what a step writes under a name, piece by piece, for others to read while it
// is written and afterwards, until the run is deleted, or the link of it is cut that has
// written it, see ContinueAs: Context.Stream. It is an
// io.Writer and an io.StringWriter. Its methods may be called concurrently.
//
// What an attempt writes is a section of the stream. A retry begins another section, and
// writes again what it writes again: readers see where. What is to be written once is
// written within a Do, which is not called again once it is recorded; what it wrote was
// durable before that.
//
// One attempt at a time writes to a stream: steps that run side by side need names of
// their own.
type Stream struct {
	step *stepContext
	name string
}

// Stream implements Context.
func (c *stepContext) Stream(name string) *Stream { return &Stream{step: c, name: name} }

// Write adds a piece: any bytes, up to 1 MiB; none is no piece. It is durable and with
// its readers within a tenth of a second, and before the step ends, records a call or
// waits. Write itself waits only if what was written before, up to 1 MiB, is not stored
// yet.
//
// Errors: ErrInvalidArgument for a name that is none; ErrPayloadTooLarge;
// ErrLimitExceeded once the steps of the run have written 16 MiB that were not cut, unless
// the servers are set otherwise, or a million pieces; ErrStreamInUse while another step writes;
// ErrStaleAttempt, and the cause of the attempt's context once that has ended. A step
// that was not told of an error by a Write or Flush fails with it.
func (s *Stream) Write(piece []byte) (int, error) {
	if err := messages.CheckName("the name of a stream", s.name); err != nil {
		return 0, err
	}
	if len(piece) == 0 {
		return 0, nil
	}
	if err := s.step.attempt.Calls.WriteStream(s.step, s.name, piece); err != nil {
		return 0, err
	}
	return len(piece), nil
}

// WriteString is Write for a text.
func (s *Stream) WriteString(piece string) (int, error) { return s.Write([]byte(piece)) }

// Flush returns once all that the attempt has written to the stream is durable. Errors:
// those of Write.
func (s *Stream) Flush() error {
	if err := messages.CheckName("the name of a stream", s.name); err != nil {
		return err
	}
	return s.step.attempt.Calls.FlushStream(s.step, s.name)
}

// StreamPlace names a piece of a stream: its section, and its number in that, from 1
// each. The zero value is the first piece.
type StreamPlace struct {
	Section int
	Number  uint64
}

// String is "2.17" for piece 17 of section 2.
func (p StreamPlace) String() string { return fmt.Sprintf("%d.%d", p.Section, p.Number) }

// ParseStreamPlace reads what String has written; "17" is "1.17". INVALID_ARGUMENT for
// anything else.
func ParseStreamPlace(text string) (p StreamPlace, err error) {
	section, number, both := strings.Cut(text, ".")
	if !both {
		section, number = "1", text
	}
	n, err := strconv.ParseInt(section, 10, 32)
	if err == nil {
		p.Section = int(n)
		p.Number, err = strconv.ParseUint(number, 10, 63)
	}
	if err != nil || n < 1 || p.Number < 1 {
		return StreamPlace{}, messages.Errorf(messages.CodeInvalidArgument, "place %q of a stream: give it as SECTION.NUMBER, such as 1.17", text)
	}
	return p, nil
}

// StreamPiece is one piece of a stream.
type StreamPiece struct {
	StreamPlace
	Data []byte
	// Cut: this is no piece. What was wanted before this place was cut with the links of
	// the run that wrote it, see ContinueAs; the pieces from this place on follow.
	Cut bool
	// The attempt that wrote it; the same for all pieces of a section.
	Step    string
	Attempt int
}

// ReadStreamOptions say what is read of a stream. The zero value, and nil, is all that
// is there now.
type ReadStreamOptions struct {
	// From is the first piece that is wanted; one that is to come may be only the next.
	From StreamPlace
	// Follow goes on with what is written from now on, until the run has ended.
	Follow bool
}

// ReadStream yields the pieces of a stream of the run in order, each once and without
// a gap, but for what was cut, in the place of which it yields a StreamPiece that says so. A connection that breaks is gone on with at another server where it was; an
// error is the last that is yielded. At most one ReadStreamOptions may be given.
//
// Errors: ErrUnknownRun; ErrUnknownStream, with Follow once the run has ended without
// it; ErrInvalidArgument for a From that lies ahead.
func (r *Run) ReadStream(ctx context.Context, name string, options ...*ReadStreamOptions) iter.Seq2[*StreamPiece, error] {
	return func(yield func(*StreamPiece, error) bool) {
		opts, err := onlyOptions(options)
		if err != nil {
			yield(nil, err)
			return
		}
		reader := &streamReader{run: r, name: name, follow: opts.Follow, next: opts.From, yield: yield}
		retries := newRetryState(r.client)
		for {
			s := r.client.pick(retries.asked)
			served, err := reader.read(ctx, s)
			if err == nil || errors.Is(err, errLeft) {
				return
			}
			if served {
				retries = newRetryState(r.client)
			}
			if err := retries.failed(ctx, s, err); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// streamReader reads a stream over any number of connections.
type streamReader struct {
	run    *Run
	name   string
	follow bool
	// next is the piece that is wanted; each connection begins with it.
	next  StreamPlace
	yield func(*StreamPiece, error) bool
}

// read is one connection; nil when the stream has ended by itself. It was served if the
// server had the run.
func (r *streamReader) read(ctx context.Context, s *server) (served bool, err error) {
	req := &api.ReadStreamRequest{RunId: r.run.id, Stream: r.name, Section: int32(min(max(r.next.Section, -1), 1<<31-1)), Number: r.next.Number, Follow: r.follow}
	if err := messages.CheckFields(req); err != nil {
		return false, err
	}
	ctx, done := s.guard(ctx)
	defer done()
	stream, err := s.service.ReadStream(ctx, connect.NewRequest(req))
	if err != nil {
		return false, silentOr(ctx, err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		r.run.client.prefer(s)
		served = true
		if err := r.take(stream.Msg()); err != nil {
			return true, err
		}
	}
	if err := stream.Err(); err != nil {
		return served || api.Served(stream.ResponseHeader()), silentOr(ctx, err)
	}
	r.run.client.prefer(s)
	return true, nil
}

// take yields pieces, which are to be the next.
func (r *streamReader) take(m *api.ReadStreamResponse) error {
	if len(m.GetPieces()) == 0 && !m.GetCut() {
		return nil
	}
	next := StreamPlace{max(r.next.Section, 1), max(r.next.Number, 1)}
	got := StreamPlace{int(m.GetSection()), m.GetFirst()}
	if m.GetCut() && got.Section > next.Section {
		if r.next = got; !r.yield(&StreamPiece{StreamPlace: got, Cut: true}, nil) {
			return errLeft
		}
		return nil
	}
	if got != next && (got.Section <= next.Section || got.Number != 1) {
		return messages.Errorf(messages.CodeInternal, "the server sent piece %s of stream %q of run %s, next is %s", got, r.name, r.run.id, next)
	}
	for i, data := range m.GetPieces() {
		piece := &StreamPiece{StreamPlace: StreamPlace{got.Section, got.Number + uint64(i)}, Data: data, Step: m.GetStep(), Attempt: int(m.GetAttempt())}
		r.next = StreamPlace{piece.Section, piece.Number + 1}
		if !r.yield(piece, nil) {
			return errLeft
		}
	}
	return nil
}
