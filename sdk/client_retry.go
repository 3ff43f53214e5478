package sdk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// retryPauses are between two rounds of tries.
var retryPauses = backoff.Pauses{First: 20 * time.Millisecond, Most: time.Second}

// retryState is what a call has gone through so far.
type retryState struct {
	client *Client
	// since is the time of the first failure.
	since time.Time
	// asked are the servers that were asked since the last pause.
	asked  []*server
	pauses backoff.Pauses
	tries  int
	// failures are the last one of each server, the newest at the end.
	failures []failure
}

func newRetryState(c *Client) retryState { return retryState{client: c, pauses: retryPauses} }

// failure of a try.
type failure struct {
	server *server
	// err is of the catalogue.
	err error
}

// failed takes the failure of a try. It returns nil, after a pause, if there
// is to be another one, else the error of the call.
func (r *retryState) failed(ctx context.Context, s *server, err error) error {
	if ctx.Err() != nil {
		return r.outOfTime(ctx, err)
	}
	coded := catalogued(ctx, s, err)
	if connect.IsWireError(err) {
		s.answered(false)
		r.client.reached.Store(true)
	}
	switch messages.CodeOf(coded) {
	case messages.CodeUnavailable, messages.CodeJournalUnavailable, messages.CodeDeadline:
		s.failed()
	case messages.CodeWrongAddress:
		s.failed()
		if r.note(failure{s, coded}); len(r.asked)+1 >= len(r.client.servers) && !r.hopeful() {
			return r.summarize(nil)
		}
	case messages.CodeJournalConflict:
	default:
		return coded
	}
	r.note(failure{s, coded})
	r.tries++
	r.asked = append(r.asked, s)
	if !unsent(err) && messages.CodeOf(coded) != messages.CodeWrongAddress && r.limit() < 0 {
		return r.summarize(nil)
	}
	wait, ok := r.next(api.RetryAfter(err))
	if !ok {
		return r.summarize(nil)
	}
	if r.client.onRetry != nil {
		r.client.onRetry(Retry{Address: s.address, Err: coded, Wait: wait})
	}
	if wait > 0 && backoff.Sleep(ctx, wait) != nil {
		return r.summarize(ctx.Err())
	}
	return nil
}

// hopeful says that to ask again may help: not all that was asked is certain to be
// something else than a server.
func (r *retryState) hopeful() bool {
	return slices.ContainsFunc(r.failures, func(f failure) bool {
		return messages.CodeOf(f.err) != messages.CodeWrongAddress || errors.Is(f.err, errMute)
	})
}

// limit of the time from the first failure on: 0 for none, negative for no
// second round.
func (r *retryState) limit() time.Duration {
	if r.client.reached.Load() {
		return r.client.retryFor
	}
	return r.client.connectFor
}

// next returns the wait before the next try; false if there is to be none. It is
// 0 while there are servers that were not asked since the last pause, unless the
// server advises another one.
func (r *retryState) next(advice time.Duration) (time.Duration, bool) {
	limit := r.limit()
	if len(r.asked) < len(r.client.servers) && (advice == 0 || limit < 0) {
		return 0, true
	}
	if limit < 0 {
		return 0, false
	}
	if r.since.IsZero() {
		r.since = time.Now()
	}
	r.asked = r.asked[:0]
	wait := r.pauses.Next()
	if advice > 0 {
		wait = max(wait, advice+rand.N(advice/2+1))
	}
	return wait, limit == 0 || time.Since(r.since)+wait <= limit
}

// note keeps the last failure of each server.
func (r *retryState) note(f failure) {
	r.failures = slices.DeleteFunc(r.failures, func(earlier failure) bool { return earlier.server == f.server })
	r.failures = append(r.failures, f)
}

// outOfTime is the error of a call whose context ended during a try. Earlier
// failures, if there are any, say more than that.
func (r *retryState) outOfTime(ctx context.Context, err error) error {
	if len(r.failures) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return api.FromConnect(err)
	}
	return r.summarize(ctx.Err())
}

// summarize is the error of a call: its failures, and the end of its context, if
// any.
func (r *retryState) summarize(ended error) error {
	last := r.failures[len(r.failures)-1].err
	if away := slices.IndexFunc(r.failures, func(f failure) bool { return messages.CodeOf(f.err) != messages.CodeWrongAddress }); away >= 0 {
		last = r.failures[away].err // which may be back, and is asked again
	}
	if len(r.failures) == 1 && ended == nil {
		return last
	}
	text := make([]string, len(r.failures))
	for i, f := range r.failures {
		text[i] = messageOf(f.err)
	}
	sum := &summary{strings.Join(text, "; "), []error{last}}
	if ended != nil {
		sum.text = fmt.Sprintf("%s (tried %d times until the time of the call was over)", sum.text, r.tries)
		sum.causes = append(sum.causes, ended)
	}
	return messages.Errorf(messages.CodeOf(last), "%w", sum)
}

// summary is several failures in one text.
type summary struct {
	text   string
	causes []error
}

func (s *summary) Error() string   { return s.text }
func (s *summary) Unwrap() []error { return s.causes }

func messageOf(err error) string {
	var e *messages.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// catalogued turns the failure of a try into an error of the catalogue. It names
// the server if that is what failed.
func catalogued(ctx context.Context, s *server, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return messages.Errorf(messages.CodeUnavailable, "%w", &summary{fmt.Sprintf("no server answers at %s: %s", s.address, op.Err), []error{op}})
	}
	if wrong := s.misaddressed(ctx, err); wrong != nil {
		return wrong
	}
	coded := api.FromConnect(err)
	switch code := messages.CodeOf(coded); code {
	case messages.CodeUnavailable, messages.CodeJournalUnavailable, messages.CodeDeadline:
		return messages.Errorf(code, "server %s: %w", s.address, &summary{messageOf(coded), []error{coded}})
	}
	return coded
}

// unsent says whether a call that failed surely did not reach a server.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
