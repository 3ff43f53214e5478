package gossip

import (
	"slices"
	"testing"
	"time"
)

const testPatience = 1500 * time.Millisecond

// listener is a server's hearing on a clock that the test moves.
type listener struct {
	hearing
	now  time.Time
	live func(string) bool
}

func newListener() *listener {
	l := &listener{now: time.Unix(0, 0), live: func(string) bool { return true }}
	l.pass(0)
	return l
}

// pass lets time pass in steps of a tick, and returns who fell silent, and how often
// others were to be asked.
func (l *listener) pass(d time.Duration) (silent []string, asked int) {
	for end := l.now.Add(d); ; l.now = l.now.Add(hearTick) {
		s, doubtful := l.look(l.now, testPatience, l.live)
		silent, asked = append(silent, s...), asked+len(doubtful)
		if !l.now.Before(end) {
			return silent, asked
		}
	}
}

// M6: a worker that asks is never silent; one that has stopped is after the patience,
// once.
func TestWorkerFallsSilent(t *testing.T) {
	l := newListener()
	for range 20 {
		l.heard("w~1")
		if silent, asked := l.pass(300 * time.Millisecond); len(silent) > 0 || asked > 0 {
			t.Fatalf("a worker that asks is silent (%v) or asked about (%d)", silent, asked)
		}
	}
	l.heard("w~1")
	if silent, _ := l.pass(testPatience - hearTick); len(silent) > 0 {
		t.Fatal("it is silent too soon")
	}
	if silent, _ := l.pass(2 * hearTick); !slices.Equal(silent, []string{"w~1"}) {
		t.Fatalf("silent: %v", silent)
	}
	if silent, asked := l.pass(time.Minute); len(silent) > 0 || asked > 0 {
		t.Fatal("it falls silent twice, or is asked about")
	}
}

// A worker that has never asked is judged by memberlist alone.
func TestWorkerThatNeverAsked(t *testing.T) {
	l := newListener()
	l.heardElsewhere("w~1")
	if silent, _ := l.pass(time.Minute); len(silent) > 0 {
		t.Fatalf("silent: %v", silent)
	}
}

// While another server hears a worker, only the way from it to here is cut.
func TestWorkerThatAnotherServerHears(t *testing.T) {
	here, there := newListener(), newListener()
	here.heard("w~1")
	for range 100 {
		there.heard("w~1")
		there.pass(hearTick)
		silent, doubtful := here.look(here.now, testPatience, here.live)
		here.now = here.now.Add(hearTick)
		if len(silent) > 0 {
			t.Fatal("it is silent here")
		}
		if len(doubtful) > 0 && there.hears("w~1", testPatience/2) {
			here.heardElsewhere("w~1")
		}
	}
	// What was heard there only is not heard here: two servers must not keep a
	// worker alive by each other's word.
	if here.hears("w~1", testPatience/2) {
		t.Fatal("a server passes on what another one has heard")
	}
}

// Others are asked from half of the patience on, and not at each tick.
func TestOthersAreAskedAboutAWorker(t *testing.T) {
	l := newListener()
	l.heard("w~1")
	if _, asked := l.pass(testPatience/2 - hearTick); asked > 0 {
		t.Fatal("others are asked about a worker that may be about to ask")
	}
	_, asked := l.pass(testPatience/2 - hearTick)
	if most := int(testPatience / 2 / hearAgain); asked == 0 || asked > most+1 {
		t.Fatalf("others were asked %d times", asked)
	}
}

// A server that got no processor has not read what was sent to it.
func TestServerThatWasKeptWaiting(t *testing.T) {
	l := newListener()
	l.heard("w~1")
	l.pass(200 * time.Millisecond)
	l.now = l.now.Add(time.Hour)
	if silent, _ := l.pass(0); len(silent) > 0 {
		t.Fatal("a worker is silent because the server was kept waiting")
	}
}

func TestWorkersThatAreGoneAreNotHeard(t *testing.T) {
	l := newListener()
	l.heard("w~1")
	l.live = func(string) bool { return false }
	l.pass(hearTick)
	if len(l.workers) > 0 {
		t.Fatal("a worker that is gone is remembered")
	}
}

// M6: a worker that was marked silent is back when it is heard, also if memberlist
// never noticed; one whose process has ended is not, for the packet was on its way.
func TestSilentWorkerIsHeardAgain(t *testing.T) {
	tab, meta := tabled(t)
	if !tab.markSilent("w~1") || tab.markSilent("w~1") {
		t.Fatal("it is marked once")
	}
	expect(t, tab, "")
	tab.updated("w~1", "10.0.0.1:2", meta(StateDraining))
	if !tab.heard("w~1", true) {
		t.Error("it does not have to say that it hears this server")
	}
	expect(t, tab, "")
	tab.isHere("w~1")
	expect(t, tab, "w~1#2", Appeared)
	if tab.heard("w~1", true) {
		t.Error("it has to make itself known again")
	}
	if m, _ := tab.member("w~1"); m.State != StateDraining {
		t.Errorf("what it said meanwhile is lost: %+v", m)
	}
	tab.markDead("w~1")
	expect(t, tab, "", Ended)
	if tab.heard("w~1", true) {
		t.Error("a process that has ended is told something")
	}
	tab.isHere("w~1")
	expect(t, tab, "")
}

// A silent worker of which memberlist says the same later has to make itself known.
func TestSilentWorkerThatMemberlistGaveUp(t *testing.T) {
	tab, meta := tabled(t)
	tab.markSilent("w~1")
	tab.declaredDead("w~1", long)
	if !tab.heard("w~1", true) || !tab.heard("nobody~1", true) {
		t.Fatal("memberlist is not to hear a worker that it does not know")
	}
	expect(t, tab, "")
	tab.joined("w~1", "10.0.0.1:2", meta(StateReady))
	if _, _, returned := tab.take(); len(returned) != 1 {
		t.Error("it has not returned")
	}
}

// A worker that asks while memberlist calls it dead stays until it has made itself
// known.
func TestSuspectThatIsHeard(t *testing.T) {
	tab, meta := tabled(t)
	tab.declaredDead("w~1", long)
	expect(t, tab, "w~1#1", Suspected)
	s := tab.suspects["w~1"]
	for range 3 {
		if !tab.heard("w~1", true) {
			t.Fatal("memberlist is not to hear it")
		}
		tab.expire("w~1", s, 0)
		expect(t, tab, "w~1#1")
	}
	tab.joined("w~1", "10.0.0.1:2", meta(StateReady))
	expect(t, tab, "w~1#1")
	if !tab.isWell("w~1") {
		t.Error("it is not well")
	}
	// It does not hear this server.
	tab.declaredDead("w~1", long)
	tab.heard("w~1", false)
	tab.expire("w~1", tab.suspects["w~1"], 0)
	expect(t, tab, "", Suspected)
}

// M7: a worker knows servers and itself.
func TestWorkersHaveNoUseForWorkers(t *testing.T) {
	server, worker := Member{Name: "a~1", Role: RoleServer}, Member{Name: "w~1", Role: RoleWorker}
	other := Member{Name: "v~1", Role: RoleWorker}
	for _, c := range []struct {
		self, of Member
		want     bool
	}{{server, server, true}, {server, worker, true}, {worker, server, true}, {worker, worker, true}, {worker, other, false}} {
		if got := New(Config{Self: c.self}).hasUseFor(c.of); got != c.want {
			t.Errorf("%s has use for %s: %v", c.self.Name, c.of.Name, got)
		}
	}
}

// A worker that joins is not called silent: many that join at once keep each other
// waiting.
func TestWorkerThatJoinsServesNobody(t *testing.T) {
	tab, meta := tabled(t)
	for state, serves := range map[State]bool{StateJoining: false, StateReady: true, StateDraining: true} {
		tab.updated("w~1", "10.0.0.1:2", meta(state))
		if tab.serves("w~1") != serves {
			t.Errorf("a worker that is %s serves: %v", state, !serves)
		}
	}
	if tab.serves("nobody~1") {
		t.Error("a member that is not there serves")
	}
}
