package server

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
)

// A timer that is put off fires at its new time, once; one that is set to an earlier
// time does not wait for the other.
func TestRunTimersArePutOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		q := newRunTimers(nil)
		defer q.close()
		began := time.Now()
		fired := make(chan time.Duration, 10)
		a := &runTimer{fire: func() { fired <- time.Since(began) }}
		b := &runTimer{fire: func() { t.Error("a timer that was taken back fires") }}
		q.reset(a, began.Add(2*time.Second))
		q.reset(b, began.Add(2*time.Second))
		time.Sleep(time.Second)
		q.reset(a, began.Add(5*time.Second))
		q.reset(b, began.Add(4*time.Second))
		time.Sleep(2 * time.Second)
		q.reset(b, time.Time{})
		time.Sleep(time.Second)
		q.reset(a, began.Add(9*time.Second))
		q.reset(a, began.Add(4500*time.Millisecond))
		time.Sleep(10 * time.Second)
		if at := <-fired; at != 4500*time.Millisecond || len(fired) != 0 {
			t.Errorf("fired after %v and %d times more, want once after 4.5 s", at, len(fired))
		}
		if n := q.queue.Len(); n != 0 {
			t.Errorf("%d timers are left", n)
		}
	})
}
