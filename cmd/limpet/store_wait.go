package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// storePauses are between two tries to open a store.
var storePauses = backoff.Pauses{First: 250 * time.Millisecond, Most: 5 * time.Second}

// waitForStore opens a store, and tries again while it does not answer, for at
// most the limit; a negative limit is none. A store that answers and refuses,
// for a wrong password or a schema that is newer, is not tried again.
func waitForStore(ctx context.Context, limit time.Duration, log *slog.Logger, open func(context.Context) (journal.Store, error)) (journal.Store, error) {
	began, pauses := time.Now(), storePauses
	for {
		store, err := open(ctx)
		if err == nil || messages.CodeOf(err) != messages.CodeJournalUnavailable || ctx.Err() != nil {
			return store, err
		}
		waited := time.Since(began)
		if limit >= 0 && waited >= limit {
			var last *messages.Error
			if limit > 0 && errors.As(err, &last) {
				err = messages.Errorf(last.Code, "the store did not answer for %s (--store-wait): %s", limit, last.Message)
			}
			return nil, err
		}
		log.Warn("the store does not answer, trying again", "waited", waited.Round(time.Second), "limit", limit, "error", err)
		pause := pauses.Next()
		if limit >= 0 {
			pause = min(pause, limit-waited)
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}
