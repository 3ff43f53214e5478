package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/stream"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// Streams of attempts. A goroutine for each that has something to send sends it, batch
// after batch, and ends when all is stored. What was written is stored before a call
// of the step is recorded, before it waits, and before the attempt ends.

// streamGrace is how long an attempt whose context has ended still sends what it has
// written before.
const streamGrace = 5 * time.Second

// streamWriter is one stream that an attempt writes.
type streamWriter struct {
	calls *attemptCalls
	name  string

	mu     sync.Mutex
	buffer stream.Buffer
	// section of the attempt; 0 before its run has answered.
	section int32
	// err is why nothing more is sent; told: a call of the step has returned it.
	err  error
	told bool
	// sending: a goroutine sends. urgent is closed when somebody waits for all to be
	// stored.
	sending bool
	urgent  chan struct{}
	// changed is closed when something was stored, or nothing more will be.
	changed chan struct{}
}

// streamOf is the stream of a name.
func (c *attemptCalls) streamOf(name string) *streamWriter {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.name == name {
			return s
		}
	}
	s := &streamWriter{calls: c, name: name, changed: make(chan struct{})}
	c.streams = append(c.streams, s)
	return s
}

// WriteStream implements attempt.Calls.
func (c *attemptCalls) WriteStream(ctx context.Context, name string, piece []byte) error {
	if err := messages.CheckStreamPiece(piece); err != nil {
		return err
	}
	s := c.streamOf(name)
	for {
		changed, err := s.add(piece)
		if changed == nil || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// add takes a piece if there is room; else it says what to wait for.
func (s *streamWriter) add(piece []byte) (changed <-chan struct{}, err error) {
	c := s.calls
	if c.life.Err() != nil {
		return nil, context.Cause(c.life)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.told = true
		return nil, s.err
	}
	if err := s.buffer.Fits(c.dispatch.RunId, len(piece)); err != nil {
		return nil, err
	}
	if !s.buffer.Room(len(piece)) {
		return s.changed, nil
	}
	s.buffer.Add(time.Now(), slices.Clone(piece))
	if !s.sending {
		s.sending, s.urgent = true, make(chan struct{})
		over := c.Works() // it is not suspended before all is stored
		c.worker.loops.Go(func() {
			defer over()
			s.send()
		})
	}
	return nil, nil
}

// FlushStream implements attempt.Calls.
func (c *attemptCalls) FlushStream(ctx context.Context, name string) error {
	return c.streamOf(name).flush(ctx, true)
}

// flush waits until all that was written is stored. told: its error is returned to the
// step.
func (s *streamWriter) flush(ctx context.Context, told bool) error {
	for {
		s.mu.Lock()
		changed, err, empty := s.changed, s.err, s.buffer.Empty()
		s.told = s.told || told && err != nil
		if !empty && err == nil {
			s.hurry()
		}
		s.mu.Unlock()
		if empty || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hurry has what waits be sent at once. Called with mu held.
func (s *streamWriter) hurry() {
	select {
	case <-s.urgent:
	default:
		close(s.urgent)
	}
}

// flushStreams has all that the attempt has written stored before something else is on
// record. Why that failed is for the attempt's end to say.
func (c *attemptCalls) flushStreams(ctx context.Context) {
	c.mu.Lock()
	all := c.streams[:len(c.streams):len(c.streams)]
	c.mu.Unlock()
	for _, s := range all {
		_ = s.flush(ctx, false)
	}
}

// closeStreams waits, when the function has returned, until all that it has written is
// stored. The error is one that the function was not told.
func (c *attemptCalls) closeStreams() error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.life))
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() {
		timer := time.AfterFunc(streamGrace, func() { cancel(context.Cause(c.life)) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	})()
	defer context.AfterFunc(c.lease, func() { cancel(context.Cause(c.lease)) })()
	c.flushStreams(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if err := s.end(context.Cause(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// end lets nothing more be sent, and says what the function was not told.
func (s *streamWriter) end(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !s.buffer.Empty() {
		s.fail(cause)
	}
	if s.err == nil {
		s.err = messages.Errorf(messages.CodeStaleAttempt, "the attempt that writes stream %q has ended", s.name)
		return nil
	}
	if s.told {
		return nil
	}
	return s.err
}

// fail lets nothing more be sent. Called with mu held.
func (s *streamWriter) fail(err error) {
	if s.err == nil {
		s.err = err
		s.hurry()
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// send sends until all is stored, or nothing more can be.
func (s *streamWriter) send() {
	for {
		due, urgent, more := s.next()
		if !more {
			return
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-urgent:
		}
		timer.Stop()
		if err := s.sendOne(); err != nil {
			s.mu.Lock()
			s.fail(err)
			s.mu.Unlock()
		}
	}
}

// next says when the next batch is to be sent; false if none is.
func (s *streamWriter) next() (due time.Time, urgent <-chan struct{}, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if due = s.buffer.Due(); due.IsZero() || s.err != nil {
		s.sending = false
		return due, nil, false
	}
	return due, s.urgent, true
}

// sendOne has one batch stored.
func (s *streamWriter) sendOne() error {
	c := s.calls
	d := c.dispatch
	if s.section == 0 {
		open := &messages.OpenStream{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Epoch: d.Epoch, Stream: s.name}
		reply, err := askRun[*messages.OpenStreamReply](c.lease, c, "the opening of stream "+s.name, open)
		if err != nil {
			return c.refused(err)
		}
		s.section = reply.Section
	}
	s.mu.Lock()
	first, pieces := s.buffer.Take(time.Now())
	s.mu.Unlock()
	reply, err := s.store(&messages.WriteStream{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Stream: s.name, Section: s.section, First: first, Pieces: pieces})
	if err != nil {
		return c.refused(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffer.Stored(reply.Stored, reply.BytesLeft, reply.PiecesLeft)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// store sends a batch to whoever owns the run, again and again until it is stored or
// refused.
func (s *streamWriter) store(write *messages.WriteStream) (*messages.WriteStreamReply, error) {
	c := s.calls
	pauses := retryPauses
	for {
		if !c.worker.mayAct() {
			return nil, context.Cause(c.lease)
		}
		s.mu.Lock()
		over := s.err
		s.mu.Unlock()
		if over != nil {
			return nil, over
		}
		_, changed := c.worker.node.Watch()
		answer, err := c.askHost(c.lease, write.RunId, write)
		reply, ok := answer.(*messages.WriteStreamReply)
		switch {
		case err == nil && !ok:
			return nil, messages.Errorf(messages.CodeInternal, "run %s: its host answered with %T", write.RunId, answer)
		case err == nil && reply.Error == nil:
			return reply, nil
		case err == nil && !messages.Code(reply.Error.Code).Retryable():
			return nil, messages.FromFailure(reply.Error)
		}
		if backoff.SleepUntil(c.lease, pauses.Next(), changed) != nil {
			return nil, context.Cause(c.lease)
		}
	}
}
