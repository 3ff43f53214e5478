package actorstest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// HookedStore calls what a test sets before it asks the store.
type HookedStore struct {
	journal.Store
	mu   sync.Mutex
	hook func(method, arg string) error
}

// Before sets the hook, nil for none. It gets the method and what it is about. An
// error of it is the call's.
func (s *HookedStore) Before(f func(method, arg string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

func (s *HookedStore) call(method, arg string) error {
	s.mu.Lock()
	f := s.hook
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(method, arg)
}

func (s *HookedStore) Append(ctx context.Context, batch []journal.Append) []error {
	for i := range batch {
		if err := s.call("Append", batch[i].RunID); err != nil {
			errs := make([]error, len(batch))
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	errs := s.Store.Append(ctx, batch)
	for i := range batch {
		_ = s.call("Appended", batch[i].RunID)
	}
	return errs
}

func (s *HookedStore) Load(ctx context.Context, runID string) (journal.Record, error) {
	if err := s.call("Load", runID); err != nil {
		return journal.Record{}, err
	}
	return s.Store.Load(ctx, runID)
}

// Entries implements journal.Store.
func (s *HookedStore) Entries(ctx context.Context, runID string, after uint64, limit int) (journal.Record, error) {
	if err := s.call("Entries", runID); err != nil {
		return journal.Record{}, err
	}
	return s.Store.Entries(ctx, runID, after, limit)
}

func (s *HookedStore) Definition(ctx context.Context, hash string) (journal.Definition, error) {
	if err := s.call("Definition", hash); err != nil {
		return journal.Definition{}, err
	}
	return s.Store.Definition(ctx, hash)
}

func (s *HookedStore) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	if err := s.call("Active", after); err != nil {
		return nil, err
	}
	return s.Store.Active(ctx, shards, after, limit)
}

func (s *HookedStore) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	if err := s.call("Heartbeat", server); err != nil {
		return nil, err
	}
	return s.Store.Heartbeat(ctx, server, data)
}

func (s *HookedStore) Now(ctx context.Context) (time.Time, error) {
	if err := s.call("Now", ""); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

func (s *HookedStore) Time(ctx context.Context) (time.Time, journal.KeptTime, error) {
	if err := s.call("Time", ""); err != nil {
		return time.Time{}, journal.KeptTime{}, err
	}
	return s.Store.Time(ctx)
}

func (s *HookedStore) Due(ctx context.Context, shards []int, now time.Time, limit int) ([]string, time.Time, error) {
	if err := s.call("Due", ""); err != nil {
		return nil, time.Time{}, err
	}
	due, next, err := s.Store.Due(ctx, shards, now, limit)
	_ = s.call("DueRead", "")
	return due, next, err
}

func (s *HookedStore) WatchedWorkers(ctx context.Context, shards []int) ([]string, error) {
	if err := s.call("WatchedWorkers", ""); err != nil {
		return nil, err
	}
	return s.Store.WatchedWorkers(ctx, shards)
}

func (s *HookedStore) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	if err := s.call("WokenByUp", workerID); err != nil {
		return nil, err
	}
	records, err := s.Store.WokenByUp(ctx, shards, workerID, after, limit)
	_ = s.call("WokenByUpRead", workerID)
	return records, err
}

// ErrJournalDown is for hooks of a journal that is out of reach.
var ErrJournalDown = messages.Errorf(messages.CodeJournalUnavailable, "down on purpose")

func (s *HookedStore) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	if err := s.call("NoteUnserved", strings.Join(names, " ")); err != nil {
		return err
	}
	return s.Store.NoteUnserved(ctx, names, since)
}

func (s *HookedStore) Publish(ctx context.Context, batch []journal.Event) []error {
	for i := range batch {
		if err := s.call("Publish", batch[i].Key); err != nil {
			errs := make([]error, len(batch))
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	errs := s.Store.Publish(ctx, batch)
	for i := range batch {
		_ = s.call("Published", batch[i].Key)
	}
	return errs
}

func (s *HookedStore) EventWaits(ctx context.Context, patterns []string, after journal.EventWaitPlace, limit int) ([]journal.EventWait, error) {
	if err := s.call("EventWaits", strings.Join(patterns, " ")); err != nil {
		return nil, err
	}
	return s.Store.EventWaits(ctx, patterns, after, limit)
}

func (s *HookedStore) EventWaitsOf(ctx context.Context, runID string) ([]journal.EventWait, error) {
	if err := s.call("EventWaitsOf", runID); err != nil {
		return nil, err
	}
	return s.Store.EventWaitsOf(ctx, runID)
}
