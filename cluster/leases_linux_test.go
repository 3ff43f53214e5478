package cluster

import (
	"testing"
	"time"
)

// A lease does not outlast the sleep of the machine: whoever asks right after it
// does not wait for the next round of questions.
func TestLeaseEndsWhileTheMachineSleeps(t *testing.T) {
	m := alone(Config{Role: RoleWorker, Preset: LocalConfig()}, Member{})
	l := m.leases
	at := now()
	l.table.holder.Servers(at, []string{"a~1"})
	l.table.holder.Granted("a~1", l.table.holder.Ask(at), l.table.cfg.For)
	if !l.check() || !l.holds() {
		t.Fatal("the worker has no lease that was granted")
	}
	before := asleepSoFar.Load()
	t.Cleanup(func() { asleepSoFar.Store(before) })
	asleepSoFar.Store(before + int64(2*l.table.cfg.For) + int64(time.Second))
	if l.holds() {
		t.Error("the worker has a lease that ended while the machine slept")
	}
}

// The machine's clocks are read when the wall clock has moved against the monotonic
// one, as a sleep moves it, and not at each question.
func TestSleepIsLookedForWhenTheWallClockMoved(t *testing.T) {
	now := time.Now()
	asleep(now)
	there := aheadThen.Load()
	for _, c := range []struct {
		moved time.Duration
		looks bool
	}{{0, false}, {asleepLeast / 4, false}, {asleepLeast, true}, {-asleepLeast, true}, {time.Hour, true}} {
		then := there - int64(c.moved)
		aheadThen.Store(then)
		asleep(now)
		if looked := aheadThen.Load() != then; looked != c.looks {
			t.Errorf("the wall clock moved by %v: the machine's clocks were read: %t, want %t", c.moved, looked, c.looks)
		}
	}
}

func BenchmarkHolds(b *testing.B) {
	m := alone(Config{Role: RoleWorker, Preset: LocalConfig()}, Member{})
	l := m.leases
	l.until.Store(int64(time.Hour))
	for b.Loop() {
		if !l.holds() {
			b.Fatal("the worker has no lease")
		}
	}
}
