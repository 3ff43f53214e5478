// Package backoff is how the whole repository waits: a sleep that a context can
// end, and the pauses between tries, which grow.
//
// Data flow: a try fails → Pauses.Next → Sleep → the next try.
//
// Invariants: a pause is never longer than Most. Sleep leaves no timer behind.
//
// Why not cenkalti/backoff: its pauses exceed their limit by the random part, its
// retry loop knows no early end but that of the context, and the SDK would bring
// one more module to everybody who uses it. This is 20 lines.
//
// Imports nothing of ours.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pauses between tries double from First to Most. Each is drawn between half of
// that and the whole, so that those who failed together do not try together.
type Pauses struct {
	First, Most time.Duration

	drawn int
}

// Next draws the next pause.
func (p *Pauses) Next() time.Duration {
	d := p.Most
	// A shift that overflows is no longer a duration.
	if longer := p.First << min(p.drawn, 62); longer>>min(p.drawn, 62) == p.First {
		d = min(d, longer)
	}
	p.drawn++
	return d/2 + rand.N(d-d/2+1)
}

// Reset begins again with First: a try has succeeded.
func (p *Pauses) Reset() { p.drawn = 0 }

// Sleep waits for d. If ctx ends first, it returns ctx's cause.
func Sleep(ctx context.Context, d time.Duration) error { return SleepUntil(ctx, d, nil) }

// SleepUntil is Sleep that returns nil, too, when early is closed or sends.
func SleepUntil(ctx context.Context, d time.Duration, early <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-early:
	case <-t.C:
	}
	return nil
}
