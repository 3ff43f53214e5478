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

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// pauseFirst and pauseMost bound the jittered wait between two rounds of tries.
const (
	pauseFirst = 20 * time.Millisecond
	pauseMost  = time.Second
)

// manner is how a call is made.
type manner struct {
	// timeout of one try; 0 leaves it to the call's context.
	timeout time.Duration
	// doubt, if not nil, is set when the call is sent again although an earlier
	// try may have arrived.
	doubt *bool
}

// method is a unary call of the service, as a method expression.
type method[Req, Res any] func(apiconnect.LimpetServiceClient, context.Context, *connect.Request[Req]) (*connect.Response[Res], error)

// call sends a request until it is answered, refused, or out of time.
func call[Req, Res any](ctx context.Context, c *Client, how manner, m method[Req, Res], req *Req) (*Res, error) {
	e := effort{client: c}
	for {
		s := c.pick(e.asked)
		res, err := try(ctx, s, how, m, req)
		if err == nil {
			c.settle(s)
			return res, nil
		}
		if err := e.failed(ctx, s, err); err != nil {
			return nil, err
		}
		if how.doubt != nil && !unsent(err) {
			*how.doubt = true
		}
	}
}

func try[Req, Res any](ctx context.Context, s *server, how manner, m method[Req, Res], req *Req) (*Res, error) {
	if how.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, how.timeout)
		defer cancel()
	}
	ctx, done := s.guard(ctx)
	defer done()
	res, err := m(s.service, ctx, connect.NewRequest(req))
	if err != nil {
		return nil, silentOr(ctx, err)
	}
	return res.Msg, nil
}

// silentOr is errSilent if that ended the call.
func silentOr(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// pick returns the server that answered last; another one if that one was asked
// already or failed a moment ago; of those that did the one that may be asked
// again first.
func (c *Client) pick(asked []*server) *server {
	current := c.servers[c.current.Load()]
	now := time.Now()
	if len(c.servers) == 1 || !slices.Contains(asked, current) && !current.avoided().After(now) {
		return current
	}
	var best *server
	var bestUntil time.Time
	// The order is another one each time, so that the clients of a server that
	// failed spread over the others.
	for _, i := range rand.Perm(len(c.servers)) {
		s := c.servers[i]
		if slices.Contains(asked, s) {
			continue
		}
		until := s.avoided()
		if !until.After(now) {
			return s
		}
		if best == nil || until.Before(bestUntil) {
			best, bestUntil = s, until
		}
	}
	if best == nil {
		return current
	}
	return best
}

// settle has further calls go to a server that has answered.
func (c *Client) settle(s *server) {
	s.answered(true)
	if !c.met.Load() {
		c.met.Store(true)
	}
	current := c.current.Load()
	if c.servers[current] == s {
		return
	}
	for i := range c.servers {
		if c.servers[i] == s {
			c.current.CompareAndSwap(current, int64(i))
		}
	}
}

// effort is what a call has gone through so far.
type effort struct {
	client *Client
	// since is the time of the first failure.
	since time.Time
	// asked since the last pause; wait is that pause.
	asked []*server
	wait  time.Duration
	tries int
	// troubles are the last failure of each server, in the order of last failure.
	troubles []trouble
}

type trouble struct {
	server *server
	err    error
}

// failed takes the failure of a try. It returns nil, after a pause, if there
// is to be another one, else the error of the call.
func (e *effort) failed(ctx context.Context, s *server, err error) error {
	if ctx.Err() != nil {
		return e.over(ctx, err)
	}
	coded := explained(s, err)
	code := messages.CodeOf(coded)
	if connect.IsWireError(err) {
		s.answered(false)
		e.client.met.Store(true)
	}
	switch code {
	case messages.CodeUnavailable, messages.CodeJournalUnavailable, messages.CodeDeadline:
		s.failed()
	case messages.CodeJournalConflict:
	default:
		return coded
	}
	e.note(s, coded)
	e.tries++
	e.asked = append(e.asked, s)
	if !unsent(err) && e.limit() < 0 {
		return e.said(nil)
	}
	wait, ok := e.next(api.RetryAfter(err))
	if !ok {
		return e.said(nil)
	}
	if e.client.onRetry != nil {
		e.client.onRetry(Retry{Address: s.address, Err: coded, Wait: wait})
	}
	if wait > 0 && !pause(ctx, wait) {
		return e.said(ctx.Err())
	}
	return nil
}

// limit of the time from the first failure on: 0 for none.
func (e *effort) limit() time.Duration {
	if e.client.met.Load() {
		return e.client.retryFor
	}
	return e.client.connectFor
}

// next returns the pause before the next try: none while there are servers
// that were not asked since the last pause, unless the server advises one.
func (e *effort) next(advice time.Duration) (time.Duration, bool) {
	limit := e.limit()
	if len(e.asked) < len(e.client.servers) && (advice == 0 || limit < 0) {
		return 0, true
	}
	if limit < 0 {
		return 0, false
	}
	if e.since.IsZero() {
		e.since = time.Now()
	}
	e.asked = e.asked[:0]
	e.wait = min(max(2*e.wait, pauseFirst), pauseMost)
	wait := e.wait/2 + rand.N(e.wait/2+1)
	if advice > 0 {
		wait = max(wait, advice+rand.N(advice/2+1))
	}
	return wait, limit == 0 || time.Since(e.since)+wait <= limit
}

// note keeps the last trouble of each server.
func (e *effort) note(s *server, err error) {
	for i := range e.troubles {
		if e.troubles[i].server == s {
			e.troubles = append(e.troubles[:i], e.troubles[i+1:]...)
			break
		}
	}
	e.troubles = append(e.troubles, trouble{s, err})
}

// over is the error of a call whose context ended during a try: the troubles
// that it had before, if any, say more than that.
func (e *effort) over(ctx context.Context, err error) error {
	if len(e.troubles) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return api.FromConnect(err)
	}
	return e.said(ctx.Err())
}

// said sums up the troubles of a call, and the end of its context, if any.
func (e *effort) said(ended error) error {
	last := e.troubles[len(e.troubles)-1].err
	if len(e.troubles) == 1 && ended == nil {
		return last
	}
	text := make([]string, len(e.troubles))
	for i, t := range e.troubles {
		text[i] = messageOf(t.err)
	}
	sum := &summary{strings.Join(text, "; "), []error{last}}
	if ended != nil {
		sum.text = fmt.Sprintf("%s (tried %d times until the time of the call was over)", sum.text, e.tries)
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

// explained turns the failure of a try into an error of the catalogue, which
// names the server if that is what failed.
func explained(s *server, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return messages.Errorf(messages.CodeUnavailable, "%w", &summary{fmt.Sprintf("no server answers at %s: %s", s.address, op.Err), []error{op}})
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

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
