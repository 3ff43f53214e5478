package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// A worker that placement has admitted waits for its first lease before others see
// it, and asks again meanwhile: the process that came after it may be why it gets none.
func TestWorkerIsReadyWithItsFirstLease(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	t.Run("the lease comes", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			f, asked := firstLease{begun: make(chan struct{})}, 0
			time.AfterFunc(5*time.Second, func() { close(f.begun) })
			began := time.Now()
			err := f.admit(t.Context(), log, func(context.Context) error { asked++; return nil })
			if took := time.Since(began); err != nil || took != 5*time.Second || asked < 2 {
				t.Errorf("ready after %v, having asked %d times: %v", took, asked, err)
			}
		})
	})
	t.Run("another process has the id", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			f, asked, taken := firstLease{begun: make(chan struct{})}, 0, errors.New("taken")
			err := f.admit(t.Context(), log, func(context.Context) error {
				if asked++; asked > 1 {
					return taken
				}
				return nil
			})
			if !errors.Is(err, taken) {
				t.Errorf("after %d questions: %v", asked, err)
			}
		})
	})
	t.Run("it is stopped", func(t *testing.T) {
		bubble.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("stopped"))
			defer cancel()
			f := firstLease{begun: make(chan struct{})}
			if err := f.admit(ctx, log, func(context.Context) error { return nil }); messages.CodeOf(err) != messages.CodeUnavailable {
				t.Error(err)
			}
		})
	})
}
