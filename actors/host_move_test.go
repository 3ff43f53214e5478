package actors

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// retire takes the server down like a real one that is stopped.
func (s *testServer) retire(ctx context.Context) {
	s.host.Leave(ctx)
	s.stop()
}

// kill ends the server without a word: its host forgets what it was about to
// write.
func (s *testServer) kill() {
	s.network.Crash()
	s.stopOnce.Do(func() {
		s.node.Kill()
		s.host.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.committer.Close(ctx)
		s.roster.Stop()
	})
}

// events counts the events of a run's history by what is said of each.
func (w *hostWorld) events(id string) map[string]int {
	w.t.Helper()
	record, err := w.store.Store.Load(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	n := map[string]int{}
	for _, data := range record.Entries {
		entry := new(messages.Entry)
		if err := messages.Unmarshal(data, entry); err != nil {
			w.t.Fatal(err)
		}
		for _, ev := range entry.Events {
			n[fmt.Sprintf("%T", ev.Kind)]++
		}
	}
	return n
}

// notRepeated wants runs that were dispatched once, and lost nothing.
func (w *hostWorld) notRepeated(ids []string) {
	w.t.Helper()
	w.recordedOnce(ids)
	for _, id := range ids {
		n := w.events(id)
		if n["*messages.Event_StepDispatched"] != 1 || n["*messages.Event_AttemptLost"] != 0 || n["*messages.Event_BindingLost"] != 0 {
			w.t.Errorf("run %s: %v: %s", id, n, w.history(id))
		}
	}
}

// awake are the runs that a server has in memory.
func (s *testServer) awake(ids []string) (n int) {
	s.host.mu.RLock()
	defer s.host.mu.RUnlock()
	for _, id := range ids {
		if s.host.active[id] != nil {
			n++
		}
	}
	return n
}

func TestHostTakesUpTheRunsOfADeadServer(t *testing.T) {
	for _, count := range []int{1_000, 5_000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.workflow("build", soft, hold(nil))
				s1, s2, s3 := w.server("s1"), w.server("s2"), w.server("s3")
				w.settled(s1, s2, s3)
				w.record(def)
				ids := w.bulk(s2, def, count)
				var theirs []string
				for _, id := range ids {
					if s3.host.owns(id) {
						theirs = append(theirs, id)
					}
				}
				if got := s3.awake(theirs); got != len(theirs) || got < count/4 {
					w.t.Fatalf("%d of %d runs are awake where they belong", got, len(theirs))
				}
				s3.kill()
				begin := time.Now()
				for s1.awake(theirs)+s2.awake(theirs) < len(theirs) {
					if time.Since(begin) > 3*time.Second {
						w.t.Fatalf("%d of %d runs are back after 3 s", s1.awake(theirs)+s2.awake(theirs), len(theirs))
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		})
	}
}

// A server that joins owns nothing before it has joined, and then takes its
// shards; it never has runs that are not its own.
func TestHostThatJoinsTakesOnlyItsShards(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.workflow("build", soft, hold(until))
		def.Steps[0].Retries = 0
		s1 := w.server("s1")
		w.worker("w1", def)
		ids := w.bulk(s1, def, 400)
		time.Sleep(time.Second)
		w.store.before(func(method, _ string) error {
			if method == "Active" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		s2 := w.server("s2")
		w.settled(s1, s2)
		w.store.before(nil)
		for _, id := range ids {
			owner, other := s1, s2
			if s2.host.owns(id) {
				owner, other = s2, s1
			}
			if owner.awake([]string{id}) != 1 || other.awake([]string{id}) != 0 {
				w.t.Fatalf("run %s: %d activations where it belongs, %d elsewhere", id, owner.awake([]string{id}), other.awake([]string{id}))
			}
		}
		close(until)
		for _, id := range ids {
			w.ends(s1, id, 30*time.Second, succeeded)
		}
		w.notRepeated(ids)
	})
}

// short is a step that takes a while.
func short(d time.Duration) attempt.Function {
	return func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
		select {
		case <-time.After(d):
			return []byte("1"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// A client starts runs one after the other, and waits for each, while all
// servers are restarted one after the other: nothing fails, nothing is
// repeated, and nothing takes longer than the pause that is allowed.
func TestHostRollingRestart(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, short(20*time.Millisecond))
		servers := []*testServer{w.server("s1"), w.server("s2"), w.server("s3")}
		w.settled(servers...)
		w.worker("w1", def)
		at := make(chan *testServer, 1)
		at <- servers[0]
		stop, stopped := make(chan struct{}), make(chan struct{})
		var ids []string
		var slowest time.Duration
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				s := <-at
				at <- s
				id := fmt.Sprintf("c%d", i)
				begin := time.Now()
				w.start(s, id, def)
				w.ends(s, id, 10*time.Second, succeeded)
				slowest = max(slowest, time.Since(begin))
				ids = append(ids, id)
			}
		}()
		for i := range servers {
			time.Sleep(2 * time.Second)
			// The client goes to a server that stays.
			<-at
			stay := servers[(i+1)%3]
			at <- stay
			w.first = stay
			time.Sleep(time.Second)
			servers[i].retire(w.t.Context())
			time.Sleep(time.Second)
			servers[i] = w.startServer(fmt.Sprintf("s%d", i+1), servers[i].network.Again(), HostConfig{})
		}
		time.Sleep(2 * time.Second)
		close(stop)
		<-stopped
		if len(ids) < 100 {
			w.t.Errorf("only %d runs", len(ids))
		}
		w.notRepeated(ids)
		if slowest > 500*time.Millisecond {
			w.t.Errorf("a run took %v", slowest)
		}
	})
}

// Servers that leave at once do not wait for each other, and their runs go on
// where servers stay, or come.
func TestHostsThatLeaveAtOnce(t *testing.T) {
	for _, stay := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(stay, " of 4 stay"), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.workflow("build", soft, hold(nil))
				w.record(def)
				var servers []*testServer
				for i := range 4 {
					servers = append(servers, w.server(fmt.Sprintf("s%d", i)))
				}
				w.settled(servers...)
				ids := w.bulk(servers[0], def, 400)
				var leaving sync.WaitGroup
				for i, s := range servers[stay:] {
					leaving.Go(func() {
						time.Sleep(time.Duration(i) * 30 * time.Millisecond)
						begin := time.Now()
						s.host.Leave(w.t.Context())
						if took := time.Since(begin); took > 1500*time.Millisecond {
							w.t.Errorf("server %s took %v to leave", s.node.Self().Name, took)
						}
						s.stop()
					})
				}
				leaving.Wait()
				if stay == 0 {
					w.first = nil
					servers, stay = []*testServer{w.server("s5")}, 1
				}
				w.settled(servers[:stay]...)
				awake := 0
				for _, s := range servers[:stay] {
					awake += s.awake(ids)
				}
				if awake != len(ids) {
					w.t.Errorf("%d of %d runs are awake", awake, len(ids))
				}
			})
		})
	}
}

// A server that is cut off from everybody does not declare workers lost.
func TestHostOfACutOffServerLosesNoWorker(t *testing.T) {
	for _, servers := range []int{2, 3} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				until := make(chan struct{})
				def := w.workflow("build", soft, hold(until))
				s1, s2 := w.server("s1"), w.server("s2")
				all := []*testServer{s1, s2}
				if servers == 3 {
					all = append(all, w.server("s3"))
				}
				w.settled(all...)
				for i := range 3 {
					w.worker(fmt.Sprintf("w%d", i), def)
				}
				ids := w.bulk(s1, def, 12)
				time.Sleep(2 * time.Second)
				w.network.Split(s2.network)
				time.Sleep(10 * time.Second)
				if !s2.node.CutOff() || s1.node.CutOff() {
					w.t.Errorf("cut off: s1 %v, s2 %v", s1.node.CutOff(), s2.node.CutOff())
				}
				if n := s2.host.ActiveRuns(); n != 0 {
					w.t.Errorf("the server that is cut off has %d runs", n)
				}
				if n := s1.awake(ids); servers == 2 && n != len(ids) {
					w.t.Errorf("the other one has %d runs", n)
				}
				w.network.Heal()
				w.settled(all...)
				if s2.node.CutOff() {
					w.t.Error("still cut off")
				}
				close(until)
				for _, id := range ids {
					w.ends(s2, id, 30*time.Second, succeeded)
				}
				w.notRepeated(ids)
			})
		})
	}
}

// A frozen server that goes on later finds its runs ended by others, and takes
// up what it owns from the journal.
func TestHostOfAFrozenServerBeginsAnew(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.workflow("build", soft, hold(until))
		long := w.workflow("long", none, hold(until))
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		w.worker("w1", def)
		ids := w.bulk(s1, def, 4)
		id := ""
		for i := 0; id == ""; i++ {
			if s2.host.owns(fmt.Sprintf("q%d", i)) {
				id = fmt.Sprintf("q%d", i)
			}
		}
		w.record(long)
		w.start(s1, id, long)
		time.Sleep(time.Second)
		s2.network.Freeze()
		time.Sleep(5 * time.Second)
		// The run ends on the other server.
		if err := s1.host.Engine().CancelRun(w.t.Context(), id, "no more"); err != nil {
			w.t.Fatal(err)
		}
		s2.network.Thaw()
		w.settled(s1, s2)
		if n := s2.awake([]string{id}); n != 0 {
			w.t.Error("the old activation is still there")
		}
		close(until)
		for _, id := range ids {
			w.ends(s2, id, 30*time.Second, succeeded)
		}
		w.notRepeated(ids)
	})
}

// advance appends an entry as another server would.
func (w *hostWorld) advance(id string) {
	w.t.Helper()
	w.appendTo(id, messages.RunStatus_RUN_STATUS_CANCELED,
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_CANCELED}}})
}

// appendTo writes an entry as another server would.
func (w *hostWorld) appendTo(id string, status messages.RunStatus, events ...*messages.Event) {
	w.t.Helper()
	record, err := w.store.Store.Load(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	last := record.Entries[len(record.Entries)-1]
	entry := new(messages.Entry)
	if err := messages.Unmarshal(last, entry); err != nil {
		w.t.Fatal(err)
	}
	entry.Events = events
	data, err := messages.Marshal(entry)
	if err != nil {
		w.t.Fatal(err)
	}
	row := record.Row
	row.Status, row.FinishedAt = status, time.Time{}
	if journal.Finished(status) {
		row.FinishedAt = time.Now()
	}
	if errs := w.store.Store.Append(w.t.Context(), []journal.Append{{RunID: id, Number: uint64(len(record.Entries)) + 1, Entry: data, Row: &row}}); errs[0] != nil {
		w.t.Fatal(errs[0])
	}
}

// The sweep activates what nobody has, and stops what is behind the journal or
// of another server's.
func TestHostSweep(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, hold(nil))
		w.record(def)
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		ids := w.bulk(s1, def, 8)
		var mine []string
		for _, id := range ids {
			if s1.host.owns(id) {
				mine = append(mine, id)
			}
		}
		lost, behind := mine[0], mine[1]
		s1.host.mu.Lock()
		pid := s1.host.active[lost]
		delete(s1.host.active, lost)
		s1.host.mu.Unlock()
		s1.host.root.Send(pid, dropRun{anew: true})
		w.advance(behind)
		stray := w.ownedBy(s2)
		s1.host.activation(stray, nil)
		time.Sleep(time.Second)
		if s1.awake([]string{lost}) != 0 || s1.awake([]string{behind}) != 1 {
			w.t.Fatal("the test has not begun")
		}
		time.Sleep(3 * sweepTurn)
		if s1.awake([]string{lost}) != 1 {
			w.t.Error("the run that nobody had is still asleep")
		}
		if s1.awake([]string{behind}) != 0 {
			w.t.Error("the run that has ended is still in memory")
		}
		if s1.awake([]string{stray}) != 0 {
			w.t.Error("the run of another server is still in memory")
		}
	})
}

// A run that another server ended, which had taken this one for dead, is told
// to those who wait for it here, as soon as this server hears that.
func TestHostDeclaredGoneTellsWaits(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, hold(nil))
		w.record(def)
		s1 := w.server("s1")
		w.settled(s1)
		id := w.bulk(s1, def, 1)[0]
		told := w.later(0, func() {
			reply, err := s1.host.Engine().WatchRun(w.t.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 20_000, UntilEnded: true, WithoutEntries: true})
			if err != nil || !reply.Ended || reply.Status != messages.RunStatus_RUN_STATUS_CANCELED {
				w.t.Errorf("%v, %v", reply, err)
			}
		})
		time.Sleep(time.Second)
		w.advance(id)
		begin := time.Now()
		s1.host.declaredGone(cluster.Member{Name: "s2~1", Role: cluster.RoleServer})
		told()
		if took := time.Since(begin); took > time.Second {
			w.t.Errorf("it was told %v later", took)
		}
	})
}

// slowStore takes 10 ms for each commit.
type slowStore struct{ journal.Store }

func (s slowStore) Append(ctx context.Context, batch []journal.Append) []error {
	time.Sleep(10 * time.Millisecond)
	return s.Store.Append(ctx, batch)
}

// Runs of other servers are started in parts, not one by one.
func TestEngineStartsRunsOfOtherServersInParts(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, succeed)
		w.record(def)
		w.store.Store = slowStore{w.store.Store}
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		begin := time.Now()
		w.bulk(s1, def, 2000)
		if took := time.Since(begin); took > 500*time.Millisecond {
			w.t.Errorf("2000 starts took %v with a journal that takes 10 ms to write", took)
		}
	})
}

func TestEngineAnswersWhileTheJournalIsDown(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, hold(nil))
		w.record(def)
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		id, other := w.ownedBy(s1), w.ownedBy(s2)
		w.start(s1, id, def)
		w.start(s1, other, def)
		time.Sleep(time.Second)
		down := func(string, string) error { return errJournalDown }
		w.store.before(down)
		unavailable := func(what string, call func(ctx context.Context) error) {
			w.t.Helper()
			begin := time.Now()
			err := call(w.t.Context())
			if took := time.Since(begin); messages.CodeOf(err) != messages.CodeJournalUnavailable || took > 10*time.Second {
				w.t.Errorf("%s after %v: %v", what, took, err)
			}
		}
		e := s1.host.Engine()
		for _, id := range []string{id, other} {
			unavailable("cancel", func(ctx context.Context) error { return e.CancelRun(ctx, id, "") })
			unavailable("start", func(ctx context.Context) error {
				replies, err := e.StartRuns(ctx, []*messages.StartRun{startOf(id+"-new", def)})
				if err != nil {
					return err
				}
				return messages.FromFailure(replies[0].Error)
			})
			unavailable("get", func(ctx context.Context) error { _, err := e.LoadRun(ctx, id); return err })
		}
		w.store.before(nil)
		for _, id := range []string{id, other} {
			w.ends(s1, id, 10*time.Second, messages.RunStatus_RUN_STATUS_CANCELED)
			if r := w.startWithin(s1, 10*time.Second, startOf(id+"-new", def)); r.Error != nil || !r.Existed {
				w.t.Errorf("the start that was not known: %v", r)
			}
		}
	})
}

// Who watches a run goes on on another server when the owner dies or leaves.
func TestHostWatchOutlivesItsServer(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		t.Run(fmt.Sprint("leaves ", leaves), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				until := make(chan struct{})
				def := w.workflow("build", soft, hold(until))
				s1, s2 := w.server("s1"), w.server("s2")
				w.settled(s1, s2)
				w.worker("w1", def)
				id := w.ownedBy(s2)
				w.start(s1, id, def)
				time.AfterFunc(time.Second, func() {
					if leaves {
						s2.retire(context.Background())
					} else {
						s2.kill()
					}
				})
				time.AfterFunc(5*time.Second, func() { close(until) })
				begin := time.Now()
				for ended := false; !ended; {
					reply, err := s1.host.Engine().WatchRun(w.t.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 60_000, UntilEnded: true, WithoutEntries: true})
					if err != nil {
						w.t.Fatal(err)
					}
					ended = reply.Ended
				}
				if took := time.Since(begin); took > 6*time.Second {
					w.t.Errorf("the end was heard of after %v", took)
				}
				w.notRepeated([]string{id})
			})
		})
	}
}

// A wait for a run of another server asks again soon, whatever became of the
// answer; here that server itself does not hear of the end.
func TestEngineAsksOtherServersAgain(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, hold(nil))
		w.record(def)
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		id := w.ownedBy(s2)
		w.start(s1, id, def)
		var begin time.Time
		time.AfterFunc(time.Second, func() { begin = time.Now(); w.advance(id) })
		reply, err := s1.host.Engine().WatchRun(w.t.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 60_000, UntilEnded: true, WithoutEntries: true})
		if err != nil || !reply.Ended {
			w.t.Fatalf("%v, %v", reply, err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			w.t.Errorf("the end was told %v late", took)
		}
	})
}

// A replay that another server has recorded is not refused by an activation that
// is behind the journal.
func TestEngineKnowsReplaysOfOtherServers(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, hold(nil))
		w.record(def)
		s1 := w.server("s1")
		w.settled(s1)
		id := w.bulk(s1, def, 1)[0]
		w.advance(id)
		w.appendTo(id, messages.RunStatus_RUN_STATUS_RUNNING,
			&messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{RequestId: "r1"}}})
		if err := s1.host.Engine().ReplayRun(w.t.Context(), id, nil, "r1"); err != nil {
			w.t.Errorf("the replay that is recorded: %v", err)
		}
		if err := s1.host.Engine().ReplayRun(w.t.Context(), id, nil, "r2"); messages.CodeOf(err) != messages.CodeRunNotFinished {
			w.t.Errorf("another one: %v", err)
		}
	})
}
