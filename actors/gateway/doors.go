package gateway

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

const (
	// tokensEvery is how often the tokens are read anew while there are any: so soon a
	// token that is revoked at another server is refused here.
	tokensEvery = 2 * time.Second
	// tokensApart is the shortest time between two readings: a stranger who tries tokens
	// causes no more.
	tokensApart = 200 * time.Millisecond
	// tokensTimeout bounds one reading.
	tokensTimeout = 3 * time.Second
	// tokensStale is how old the newest reading may be. Then no token is believed, for
	// it may be revoked. What is open ends within that, tokensEvery and tokensTimeout.
	tokensStale = 10 * time.Second
)

var (
	errRevoked      = messages.Errorf(messages.CodeUnauthenticated, "the token is not known, was revoked or has expired")
	errTokensUnread = messages.Errorf(messages.CodeJournalUnavailable, "tokens cannot be read from the journal, so none is believed")
)

// doors implements access.Doors for the cluster's secret and the tokens in a journal.
type doors struct {
	*access.SecretDoors
	// stopping ends readings.
	stopping context.Context
	// store is nil where no tokens are known.
	store journal.AccessStore
	// now is engine time.
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex
	byHash  map[[sha256.Size]byte]*messages.TokenRecord
	byID    map[string]*messages.TokenRecord
	read    time.Time // when the newest reading that succeeded began
	reading *reading  // under way, or the last one
	open    map[*openCall]struct{}
}

var _ access.Doors = (*doors)(nil)

// reading of all tokens; began is zero until it has.
type reading struct {
	began time.Time
	done  chan struct{}
}

// openCall is under way with a token.
type openCall struct {
	who string
	end context.CancelCauseFunc
}

func newDoors(stopping context.Context, secret string, store journal.AccessStore, times Times, log *slog.Logger) *doors {
	return &doors{stopping: stopping, SecretDoors: access.NewSecretDoors(secret), store: store, log: log, open: map[*openCall]struct{}{}, now: func() time.Time {
		if times != nil {
			if to := times.ToEngine(); to != nil {
				return to(time.Now())
			}
		}
		return time.Now()
	}}
}

// Enter implements access.Doors.
func (d *doors) Enter(ctx context.Context, presented, from string) (access.Caller, error) {
	if d.store == nil || !strings.HasPrefix(presented, access.TokenPrefix) {
		return d.SecretDoors.Enter(ctx, presented, from)
	}
	hash := access.Hash(presented)
	return d.entered(ctx, from, func() *messages.TokenRecord { return d.byHash[hash] })
}

// Again implements access.Doors.
func (d *doors) Again(ctx context.Context, who, from string) (access.Caller, error) {
	if d.store == nil || isNoToken(who) {
		return d.SecretDoors.Again(ctx, who, from)
	}
	return d.entered(ctx, from, func() *messages.TokenRecord { return d.byID[who] })
}

// isNoToken says that who calls has no token.
func isNoToken(who string) bool {
	return slices.Contains([]string{"", access.Secret, access.Local, access.Anonymous, access.Pages}, who)
}

// entered returns who has the token that find finds, under the lock. One that is not
// known may be new: the tokens are read for it.
func (d *doors) entered(ctx context.Context, from string, find func() *messages.TokenRecord) (access.Caller, error) {
	for again := false; ; again = true {
		d.mu.Lock()
		t, stale := find(), time.Since(d.read) > tokensStale
		d.mu.Unlock()
		switch {
		case t != nil && !stale && access.Expired(t, d.now()):
			return access.Caller{}, errRevoked
		case t != nil && !stale:
			return access.OfToken(t, from), nil
		case again && stale:
			return access.Caller{}, errTokensUnread
		case again:
			return access.Caller{}, errRevoked
		}
		if err := d.readAgain(ctx); err != nil {
			return access.Caller{}, err
		}
	}
}

// readAgain returns when the tokens were read, or tried to be, by a reading that began
// after the call: one for all that want it.
func (d *doors) readAgain(ctx context.Context) error {
	for later := false; !later; {
		d.mu.Lock()
		r := d.reading
		switch {
		case r == nil || closed(r.done):
			pause := time.Duration(0)
			if r != nil {
				pause = max(0, tokensApart-time.Since(r.began))
			}
			r, later = &reading{done: make(chan struct{})}, true
			d.reading = r
			go d.readTokens(r, pause)
		case r.began.IsZero():
			later = true
		}
		d.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// readTokens reads them and ends what is open with those that are not there any more.
func (d *doors) readTokens(r *reading, pause time.Duration) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(d.stopping, pause+tokensTimeout)
	defer cancel()
	if backoff.Sleep(ctx, pause) != nil {
		return
	}
	d.mu.Lock()
	began := time.Now()
	r.began = began
	d.mu.Unlock()
	stored, err := d.store.Tokens(ctx)
	if err != nil {
		d.log.Warn("tokens cannot be read", "error", err)
	}
	byHash, byID := map[[sha256.Size]byte]*messages.TokenRecord{}, map[string]*messages.TokenRecord{}
	for _, s := range stored {
		t := &messages.TokenRecord{}
		if proto.Unmarshal(s.Data, t) != nil || len(t.GetHash()) != sha256.Size || t.GetId() != s.ID {
			d.log.Error("a token in the journal cannot be read and is refused", "id", s.ID)
			continue
		}
		byHash[[sha256.Size]byte(t.GetHash())], byID[t.GetId()] = t, t
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.byHash, d.byID, d.read = byHash, byID, began
	}
	d.sweep()
}

// sweep ends what is open with tokens that are not good any more. It runs under the lock.
func (d *doors) sweep() {
	for c := range d.open {
		if !d.good(c.who) {
			c.end(errRevoked)
			delete(d.open, c)
		}
	}
}

// good says whether a token is, under the lock.
func (d *doors) good(who string) bool {
	t := d.byID[who]
	return t != nil && !access.Expired(t, d.now()) && time.Since(d.read) <= tokensStale
}

// Attend implements access.Doors.
func (d *doors) Attend(ctx context.Context, c access.Caller) (context.Context, func()) {
	if isNoToken(c.Who) {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	call := &openCall{c.Who, end}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.good(c.Who) {
		end(errRevoked)
		return ctx, func() {}
	}
	d.open[call] = struct{}{}
	return ctx, func() {
		d.mu.Lock()
		delete(d.open, call)
		d.mu.Unlock()
		end(nil)
	}
}

// keep reads the tokens again and again, while any are known, until the server stops.
func (d *doors) keep() {
	for d.store != nil && backoff.Sleep(d.stopping, tokensEvery) == nil {
		d.mu.Lock()
		known := len(d.byID) > 0
		d.mu.Unlock()
		if known {
			_ = d.readAgain(d.stopping) // it ends with the server
		}
	}
}
