package gossip

import (
	"slices"
	"testing"
	"time"
)

// tabled is a table with one ready worker, w~1.
func tabled(t *testing.T) (*table, func(State) []byte) {
	t.Helper()
	meta := func(s State) []byte {
		data, err := encodeMeta(Member{Role: RoleWorker, State: s, Address: "10.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	tab := newTable()
	tab.joined("w~1", "10.0.0.1:2", meta(StateReady))
	if got, _ := happened(tab); !slices.Equal(got, []Happening{Appeared}) {
		t.Fatalf("news of a member that joins: %v", got)
	}
	return tab, meta
}

// happened takes the news, and the members by their ids.
func happened(tab *table) (what []Happening, ids []string) {
	news, members, _ := tab.take()
	for _, n := range news {
		what = append(what, n.What)
	}
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return what, ids
}

func expect(t *testing.T, tab *table, ids string, news ...Happening) {
	t.Helper()
	what, got := happened(tab)
	if !slices.Equal(what, news) {
		t.Errorf("news %v, want %v", what, news)
	}
	if want := slices.DeleteFunc([]string{ids}, func(id string) bool { return id == "" }); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}

func long() time.Duration  { return time.Hour }
func never() time.Duration { return 0 }

// M2: a suspect stays, and has never left if it refutes the verdict.
func TestSuspectThatRefutes(t *testing.T) {
	tab, meta := tabled(t)
	tab.declaredDead("w~1", long)
	expect(t, tab, "w~1#1", Suspected)
	if tab.isWell("w~1") || !tab.isLive("w~1") {
		t.Error("a suspect is live and not well")
	}
	tab.joined("w~1", "10.0.0.1:2", meta(StateDraining))
	expect(t, tab, "w~1#1")
	if m, _ := tab.member("w~1"); !tab.isWell("w~1") || m.State != StateDraining {
		t.Errorf("a member that refuted is not well, or its news is lost: %+v", m)
	}
}

func TestSuspectThatDoesNotRefute(t *testing.T) {
	tab, meta := tabled(t)
	tab.declaredDead("w~1", long)
	s := tab.suspects["w~1"]
	// This process was kept waiting meanwhile.
	tab.expire("w~1", s, time.Minute)
	expect(t, tab, "w~1#1", Suspected)
	tab.expire("w~1", s, 0)
	expect(t, tab, "")
	// It is back, as another appearance.
	tab.joined("w~1", "10.0.0.1:2", meta(StateReady))
	if _, _, returned := tab.take(); len(returned) != 1 || returned[0].ID != "w~1#2" {
		t.Errorf("returned %v", returned)
	}
	// The timer of the first time means nothing any more.
	tab.expire("w~1", s, 0)
	if !tab.isLive("w~1") {
		t.Error("an old timer took a member out")
	}
}

// Who has nothing to refute leaves at once.
func TestMembersThatLeaveAtOnce(t *testing.T) {
	for name, leave := range map[string]func(*table, func(State) []byte){
		"no time to refute": func(tab *table, _ func(State) []byte) { tab.declaredDead("w~1", never) },
		"not ready yet": func(tab *table, meta func(State) []byte) {
			tab.updated("w~1", "10.0.0.1:2", meta(StateJoining))
			tab.declaredDead("w~1", long)
		},
		"said so before": func(tab *table, _ func(State) []byte) {
			tab.expectLeaving("w~1")
			tab.take()
			tab.declaredDead("w~1", long)
		},
		"said so after": func(tab *table, _ func(State) []byte) {
			tab.declaredDead("w~1", long)
			tab.expectLeaving("w~1")
			tab.take()
		},
	} {
		t.Run(name, func(t *testing.T) {
			tab, meta := tabled(t)
			leave(tab, meta)
			expect(t, tab, "")
		})
	}
}

// M3: a member that is marked dead and lives is another appearance.
func TestMarkedDeadAndRevived(t *testing.T) {
	tab, meta := tabled(t)
	if !tab.markDead("w~1") || tab.markDead("w~1") {
		t.Fatal("a live member is marked dead once")
	}
	expect(t, tab, "", Ended)
	tab.updated("w~1", "10.0.0.1:2", meta(StateDraining)) // memberlist goes on to hear it
	expect(t, tab, "")
	if !tab.revive("w~1") || tab.revive("w~1") {
		t.Fatal("a member is revived once")
	}
	expect(t, tab, "w~1#2", Appeared)
	if m, _ := tab.member("w~1"); m.State != StateDraining {
		t.Errorf("what it said meanwhile is lost: %+v", m)
	}
}

// memberlist has found it dead too: there is nothing to revive.
func TestMarkedDeadForGood(t *testing.T) {
	tab, _ := tabled(t)
	tab.markDead("w~1")
	tab.declaredDead("w~1", long)
	if tab.revive("w~1") {
		t.Error("a member is revived that memberlist has found dead")
	}
	expect(t, tab, "", Ended)
}

func TestMemberThatCannotBeRead(t *testing.T) {
	tab, meta := tabled(t)
	tab.updated("w~1", "10.0.0.1:2", []byte{0xff})
	expect(t, tab, "", Unreadable)
	tab.updated("w~1", "10.0.0.1:2", meta(StateReady))
	expect(t, tab, "w~1#1")
}

// Whether a member that is gone had said that it leaves is known however it went:
// the state in which it leaves, and that it is gone, may be heard at once.
func TestWhoSaidThatItLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		goes func(tab *table, leaving []byte)
		said bool
	}{
		"it leaves":            {func(tab *table, _ []byte) { tab.expectLeaving("w~1"); tab.declaredDead("w~1", long) }, true},
		"it leaves, a suspect": {func(tab *table, _ []byte) { tab.declaredDead("w~1", long); tab.expectLeaving("w~1") }, true},
		"it is about to leave and ends": {func(tab *table, leaving []byte) {
			tab.updated("w~1", "10.0.0.1:2", leaving)
			tab.markDead("w~1")
		}, true},
		"it is about to leave and is declared dead": {func(tab *table, leaving []byte) {
			tab.updated("w~1", "10.0.0.1:2", leaving)
			tab.declaredDead("w~1", never)
		}, true},
		"it says that it leaves and ends": {func(tab *table, _ []byte) { tab.expectLeaving("w~1"); tab.markDead("w~1") }, true},
		"it ends":                         {func(tab *table, _ []byte) { tab.markDead("w~1") }, false},
		"it is declared dead":             {func(tab *table, _ []byte) { tab.declaredDead("w~1", never) }, false},
		"it comes back": {func(tab *table, ready []byte) {
			tab.expectLeaving("w~1")
			tab.declaredDead("w~1", long)
			tab.joined("w~1", "10.0.0.1:2", ready)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tab, meta := tabled(t)
			c.goes(tab, meta(StateLeaving))
			if said := tab.saidLeaving("w~1"); said != c.said {
				t.Errorf("it had said that it leaves: %v, want %v", said, c.said)
			}
		})
	}
}
