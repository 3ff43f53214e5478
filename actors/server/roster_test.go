package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/messages"
)

func TestRosterUpDrainingLeft(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		p := w.Worker("w1")
		watcher := w.Watcher()
		w.Roster.Watch("w1", p.Info.Incarnation, watcher.PID)
		watcher.HearsNothing(time.Second) // joining is not up
		p.Set(cluster.StateReady)
		watcher.Hears(time.Second, p, "up")
		if s, ok := w.Roster.Worker("w1"); !ok || s.State != run.WorkerUp || s.Info.GetSlots() != 2 {
			w.T.Fatalf("the roster has %+v", s)
		}
		p.Set(cluster.StateLeaving)
		watcher.Hears(time.Second, p, "draining")
		late := w.Watcher()
		w.Roster.Watch("w1", p.Info.Incarnation, late.PID)
		late.Hears(time.Second, p, "draining")
		_ = p.Node.Stop(w.T.Context())
		watcher.Hears(time.Second, p, "gone: worker left")
		late.Hears(time.Second, p, "gone: worker left")
		w.Roster.Unwatch("w1", watcher.PID)
		later := w.Watcher()
		w.Roster.Watch("w1", p.Info.Incarnation, later.PID)
		later.Hears(time.Second, p, "gone: worker left")
	})
}

// A worker that holds nothing leaves at once: no view shows that it is about to.
func TestRosterLeftAtOnce(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		p, watcher := w.Watched("w1")
		_ = p.Node.Stop(w.T.Context())
		watcher.Hears(time.Second, p, "gone: worker left")
	})
}

// A worker that is drained by an operator stays, may be up again, and is lost,
// and has not left, when it dies.
func TestRosterDrainedAndBack(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		p, watcher := w.Watched("w1")
		for range 2 {
			p.Set(cluster.StateDraining)
			watcher.Hears(time.Second, p, "draining")
			p.Set(cluster.StateReady)
			watcher.Hears(time.Second, p, "up")
		}
		p.Set(cluster.StateDraining)
		watcher.Hears(time.Second, p, "draining")
		p.Set(cluster.StateLeaving)
		watcher.HearsNothing(time.Second)
		p.Set(cluster.StateDraining)
		watcher.HearsNothing(time.Second)
		p.Host.Crash()
		watcher.Hears(3*time.Second, p, "gone: worker lost")
	})
}

func TestRosterLostWithinThreeSeconds(t *testing.T) {
	for name, fail := range map[string]func(*clustertest.Host){"crash": (*clustertest.Host).Crash, "freeze": (*clustertest.Host).Freeze} {
		t.Run(name, func(t *testing.T) {
			actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
				p, watcher := w.Watched("w1")
				fail(p.Host)
				watcher.Hears(3*time.Second, p, "gone: worker lost")
			})
		})
	}
}

// The same process, declared gone by mistake, is up again when it is back.
func TestRosterBackAfterVerdict(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		p, watcher := w.Watched("w1")
		p.Host.Freeze()
		watcher.Hears(3*time.Second, p, "gone: worker lost")
		p.Host.Thaw()
		watcher.Hears(15*time.Second, p, "up")
		select {
		case m := <-p.Superseded:
			w.T.Fatalf("superseded by %s", m.ByIncarnation)
		default:
		}
	})
}

func TestRosterUnknownWorkerSettles(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		gone, comes := w.Watcher(), w.Watcher()
		w.Roster.Watch("w1", "never-seen", gone.PID)
		gone.HearsNothing(2900 * time.Millisecond)
		gone.HearsOf(200*time.Millisecond, "never-seen", "gone: worker lost")

		p := w.Worker("w2")
		w.Roster.Watch("w2", p.Info.Incarnation, comes.PID)
		comes.HearsNothing(2 * time.Second)
		p.Set(cluster.StateReady)
		comes.Hears(time.Second, p, "up")
		comes.HearsNothing(5 * time.Second)
	})
}

// A process that is joining is not given up as long as it is there.
func TestRosterJoiningIsNotGone(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		p, watcher := w.Worker("w1"), w.Watcher()
		w.Roster.Watch("w1", p.Info.Incarnation, watcher.PID)
		watcher.HearsNothing(10 * time.Second)
		p.Host.Crash()
		watcher.Hears(7*time.Second, p, "gone: worker lost")
	})
}

func TestRosterSuperseded(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		old, watcher := w.Watched("w1")
		time.Sleep(10 * time.Millisecond) // incarnations are in the order of time
		fresh := w.Ready("w1")
		// It has a lease, which is renewed no more.
		watcher.Hears(3*time.Second, old, "gone: worker superseded")
		watcher.Hears(time.Second, fresh, "up")
		if m := <-old.Superseded; m.ByIncarnation != fresh.Info.Incarnation || m.Incarnation != old.Info.Incarnation {
			w.T.Fatalf("told %v", m)
		}
		// Whoever watches the old process later hears of both at once.
		late := w.Watcher()
		w.Roster.Watch("w1", old.Info.Incarnation, late.PID)
		late.Hears(time.Second, old, "gone: worker superseded")
		late.Hears(time.Second, fresh, "up")
		// And whoever watches an even older one that was never seen.
		older := w.Watcher()
		w.Roster.Watch("w1", "00000000000000000000000000", older.PID)
		// The server has begun a moment ago: it may still have a lease.
		older.HearsOf(2*time.Second, "00000000000000000000000000", "gone: worker superseded")
		older.Hears(time.Second, fresh, "up")
	})
}

// A run that is bound to a process which this server has not seen is not told
// of an older one of the same id that is still in the view.
func TestRosterUnseenMayBeNewer(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		old, _ := w.Watched("w1")
		fresh, watcher := w.Worker("w1"), w.Watcher()
		w.Roster.Watch("w1", fresh.Info.Incarnation, watcher.PID)
		watcher.HearsNothing(2 * time.Second)
		fresh.Set(cluster.StateReady)
		watcher.Hears(3*time.Second, old, "gone: worker superseded")
		watcher.Hears(time.Second, fresh, "up")

		// One that never appears counts as gone, and then the other one is news.
		never := w.Watcher()
		w.Roster.Watch("w1", "zzzz", never.PID)
		never.HearsNothing(2900 * time.Millisecond)
		never.HearsOf(200*time.Millisecond, "zzzz", "gone: worker superseded")
		never.Hears(time.Second, fresh, "up")
	})
}

// A process that was frozen while another one took its id over does not get
// the id back when it wakes, and is told.
func TestRosterZombieStaysSuperseded(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		old, watcher := w.Watched("w1")
		old.Host.Freeze()
		watcher.Hears(3*time.Second, old, "gone: worker lost")
		fresh := w.Ready("w1")
		watcher.Hears(time.Second, fresh, "up")
		old.Host.Thaw()
		select {
		case m := <-old.Superseded:
			if m.ByIncarnation != fresh.Info.Incarnation {
				w.T.Fatalf("told %v", m)
			}
		case <-time.After(20 * time.Second):
			w.T.Fatal("the zombie was not told")
		}
		if s, _ := w.Roster.Worker("w1"); s.Incarnation != fresh.Info.Incarnation || s.State != run.WorkerUp {
			w.T.Fatalf("the roster has %s %v", s.Incarnation, s.State)
		}
	})
}

// A server that was restarted may hear of an earlier process of an id after the
// one that holds it: what is gossiped of a dead one comes late.
func TestRosterHearsOfAnEarlierProcessLate(t *testing.T) {
	for name, dead := range map[string]bool{"dead": true, "awake": false} {
		t.Run(name, func(t *testing.T) {
			actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
				old := w.Worker("w1")
				old.Silent.Store(dead)
				time.Sleep(10 * time.Millisecond) // incarnations are in the order of time
				fresh, watcher := w.Watched("w1")
				old.Set(cluster.StateReady)
				watcher.Hears(time.Second, old, "gone: worker superseded")
				if m := <-old.Superseded; m.ByIncarnation != fresh.Info.Incarnation {
					w.T.Fatalf("told %v", m)
				}
				// For those who watch only since the earlier process was there.
				watcher.Hears(time.Second, fresh, "up")
				watcher.HearsNothing(5 * time.Second)
				if s, _ := w.Roster.Worker("w1"); s.Incarnation != fresh.Info.Incarnation || s.State != run.WorkerUp {
					w.T.Fatalf("the roster has %s %v", s.Incarnation, s.State)
				}
				select {
				case m := <-fresh.Superseded:
					w.T.Fatalf("told %v", m)
				default:
				}
			})
		})
	}
}

// The clock of a worker's new host may be behind that of its old one: who
// answers holds the id, not who claims to be younger.
func TestRosterEarlierProcessOfADeadHolder(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		behind := w.Worker("w1")
		time.Sleep(10 * time.Millisecond)
		dead, watcher := w.Watched("w1")
		dead.Host.Freeze()
		behind.Set(cluster.StateReady)
		watcher.Hears(3*time.Second, dead, "gone: worker lost")
		watcher.Hears(time.Second, behind, "up")
		watcher.HearsNothing(5 * time.Second)
		select {
		case m := <-behind.Superseded:
			w.T.Fatalf("told %v", m)
		default:
		}
	})
}

// A holder that does not answer and has a lease is alive, or was a moment ago: it
// keeps the id until the lease has ended.
func TestRosterSilentHolderWithALease(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		behind := w.Worker("w1")
		time.Sleep(10 * time.Millisecond)
		holder, watcher := w.Watched("w1")
		holder.Silent.Store(true)
		behind.Set(cluster.StateReady)
		watcher.HearsNothing(10 * time.Second)
		holder.Silent.Store(false)
		watcher.Hears(3*time.Second, behind, "gone: worker superseded")
		if m := <-behind.Superseded; m.ByIncarnation != holder.Info.Incarnation {
			w.T.Fatalf("told %v", m)
		}
		watcher.Hears(time.Second, holder, "up")
		watcher.HearsNothing(5 * time.Second)
	})
}

func TestRosterListsAndListeners(t *testing.T) {
	actorstest.RosterBubble(t, func(w *actorstest.RosterWorld) {
		var heard []string
		done := make(chan struct{}, 100)
		cancel := w.Roster.OnChange(func(c run.WorkerChanged) {
			heard = append(heard, c.Worker.WorkerId+" "+c.State.String())
			done <- struct{}{}
		})
		w.Ready("w1")
		<-done
		b := w.Ready("w2")
		<-done
		b.Host.Crash()
		<-done
		if got := strings.Join(heard, ", "); got != "w1 up, w2 up, w2 gone" {
			w.T.Fatalf("heard %s", got)
		}
		cancel()
		all := w.Roster.Workers()
		if len(all) != 2 || all[0].State != run.WorkerUp || all[1].State != run.WorkerGone || all[1].Reason != messages.Reason_REASON_WORKER_LOST {
			w.T.Fatalf("listed %+v", all)
		}
	})
}
