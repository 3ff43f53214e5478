package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// TestWaitForStore: a store that does not answer is waited for, as long as the
// settings say; one that refuses is not.
func TestWaitForStore(t *testing.T) {
	away := messages.Errorf(messages.CodeJournalUnavailable, "connection refused")
	newer := messages.Errorf(messages.CodeJournalNewer, "schema 9")
	for name, tc := range map[string]struct {
		limit time.Duration
		// errs of the tries; the last one repeats.
		errs []error
		want messages.Code
		// tries at least, and at most triesMost if that is more.
		tries, triesMost int
		// took at most, and at least half of that: pauses are drawn between half
		// and the whole. A limit is exact.
		took time.Duration
	}{
		"there":            {time.Minute, []error{nil}, "", 1, 1, 0},
		"comes back":       {time.Minute, []error{away, away, away, nil}, "", 4, 4, 1750 * time.Millisecond},
		"comes back newer": {time.Minute, []error{away, newer}, messages.CodeJournalNewer, 2, 2, 250 * time.Millisecond},
		"refuses":          {time.Minute, []error{newer}, messages.CodeJournalNewer, 1, 1, 0},
		"stays away":       {10 * time.Second, []error{away}, messages.CodeJournalUnavailable, 7, 9, 10 * time.Second},
		"no waiting":       {0, []error{away}, messages.CodeJournalUnavailable, 1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				began, tries := time.Now(), 0
				store, err := waitForStore(t.Context(), tc.limit, slog.New(slog.DiscardHandler), func(context.Context) (journal.Store, error) {
					err := tc.errs[min(tries, len(tc.errs)-1)]
					tries++
					if err != nil {
						return nil, err
					}
					return journal.NewMemory(), nil
				})
				if messages.CodeOf(err) != tc.want || (store != nil) != (err == nil) {
					t.Errorf("%v, %v; want %q", store, err, tc.want)
				}
				took, least := time.Since(began), tc.took/2
				if tc.took == tc.limit {
					least = tc.took
				}
				if took < least || took > tc.took || tries < tc.tries || tries > tc.triesMost {
					t.Errorf("%d tries in %s, want %d to %d in %s to %s", tries, took, tc.tries, tc.triesMost, least, tc.took)
				}
			})
		})
	}
}

// TestWaitForStoreForEver ends with its context only, and says on the way what
// it waits for.
func TestWaitForStoreForEver(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		var log bytes.Buffer
		_, err := waitForStore(ctx, -time.Second, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) (journal.Store, error) {
			return nil, messages.Errorf(messages.CodeJournalUnavailable, "connection refused")
		})
		if err != context.Cause(ctx) || ctx.Err() == nil {
			t.Errorf("ended with %v", err)
		}
		if !strings.Contains(log.String(), "waited=23h59m") || !strings.Contains(log.String(), "connection refused") {
			t.Error("the log does not tell how long it has waited, or for what")
		}
	})
}
