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
