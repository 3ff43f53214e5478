package backoff

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

func TestPausesGrowAndStayWithinTheirBounds(t *testing.T) {
	for _, most := range []time.Duration{time.Second, math.MaxInt64 / 2} {
		p := Pauses{First: 20 * time.Millisecond, Most: most}
		for range 2 {
			whole := p.First
			for range 100 {
				if d := p.Next(); d < whole/2 || d > whole {
					t.Fatalf("pause %v, want %v to %v", d, whole/2, whole)
				}
				whole = min(2*whole, most)
			}
			p.Reset()
		}
	}
	if d := (&Pauses{First: time.Hour, Most: time.Second}).Next(); d > time.Second {
		t.Errorf("a pause of %v exceeds its limit", d)
	}
}

func TestSleepEndsByItsTimeOrEarly(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("slept for %v", time.Since(began))
		}
		early := make(chan struct{})
		close(early)
		if err := SleepUntil(t.Context(), time.Minute, early); err != nil || time.Since(began) != time.Minute {
			t.Errorf("did not wake early, but after %v", time.Since(began))
		}
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, over)
		defer cancel()
		if err := Sleep(ctx, time.Minute); !errors.Is(err, over) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("slept on after its context, until %v", time.Since(began))
		}
	})
}
