package server_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

func TestHostTakesUpTheRunsOfADeadServer(t *testing.T) {
	for _, count := range []int{1_000, 5_000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.Workflow("build", soft, hold(nil))
				s1, s2, s3 := w.Server("s1"), w.Server("s2"), w.Server("s3")
				w.Settled(s1, s2, s3)
				w.WorkerWith("w1", w.Network.Host("w1"), int32(count), def)
				ids := w.Bulk(s2, def, count)
				time.Sleep(5 * time.Second)
				var theirs []string
				for _, id := range ids {
					if s3.Host.Owns(id) {
						theirs = append(theirs, id)
					}
				}
				if got := s3.Host.Awake(theirs); got != len(theirs) || got < count/4 {
					w.T.Fatalf("%d of %d runs are awake where they belong", got, len(theirs))
				}
				s3.Kill()
				begin := time.Now()
				for s1.Host.Awake(theirs)+s2.Host.Awake(theirs) < len(theirs) {
					if time.Since(begin) > 3*time.Second {
						w.T.Fatalf("%d of %d runs are back after 3 s", s1.Host.Awake(theirs)+s2.Host.Awake(theirs), len(theirs))
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
		def := w.Workflow("build", soft, hold(until))
		def.Steps[0].Retries = 0
		s1 := w.Server("s1")
		w.Worker("w1", def)
		ids := w.Bulk(s1, def, 400)
		time.Sleep(time.Second)
		w.Store.Before(func(method, _ string) error {
			if method == "Active" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		s2 := w.Server("s2")
		w.Settled(s1, s2)
		w.Store.Before(nil)
		for _, id := range ids {
			owner, other := s1, s2
			if s2.Host.Owns(id) {
				owner, other = s2, s1
			}
			if owner.Host.Awake([]string{id}) != 1 || other.Host.Awake([]string{id}) != 0 {
				w.T.Fatalf("run %s: %d activations where it belongs, %d elsewhere", id, owner.Host.Awake([]string{id}), other.Host.Awake([]string{id}))
			}
		}
		close(until)
		for _, id := range ids {
			w.Ends(s1, id, 30*time.Second, succeeded)
		}
		w.NotRepeated(ids)
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
		def := w.Workflow("build", soft, short(20*time.Millisecond))
		servers := []*actorstest.Server{w.Server("s1"), w.Server("s2"), w.Server("s3")}
		w.Settled(servers...)
		w.Worker("w1", def)
		at := make(chan *actorstest.Server, 1)
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
				w.Start(s, id, def)
				w.Ends(s, id, 10*time.Second, succeeded)
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
			w.First = stay
			time.Sleep(time.Second)
			servers[i].Retire(w.T.Context())
			time.Sleep(time.Second)
			servers[i] = w.StartServer(fmt.Sprintf("s%d", i+1), servers[i].Network.Again(), server.HostConfig{})
		}
		time.Sleep(2 * time.Second)
		close(stop)
		<-stopped
		if len(ids) < 100 {
			w.T.Errorf("only %d runs", len(ids))
		}
		w.NotRepeated(ids)
		if slowest > 500*time.Millisecond {
			w.T.Errorf("a run took %v", slowest)
		}
	})
}

// Servers that leave at once do not wait for each other, and their runs go on
// where servers stay, or come.
func TestHostsThatLeaveAtOnce(t *testing.T) {
	for _, stay := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(stay, " of 4 stay"), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				def := w.Workflow("build", soft, hold(nil))
				w.Record(def)
				var servers []*actorstest.Server
				for i := range 4 {
					servers = append(servers, w.Server(fmt.Sprintf("s%d", i)))
				}
				w.Settled(servers...)
				ids := w.Bulk(servers[0], def, 400)
				var leaving sync.WaitGroup
				for i, s := range servers[stay:] {
					leaving.Go(func() {
						time.Sleep(time.Duration(i) * 30 * time.Millisecond)
						begin := time.Now()
						s.Host.Leave(w.T.Context())
						if took := time.Since(begin); took > 1500*time.Millisecond {
							w.T.Errorf("server %s took %v to leave", s.Node.Self().Name, took)
						}
						s.Stop()
					})
				}
				leaving.Wait()
				if stay == 0 {
					w.First = nil
					servers, stay = []*actorstest.Server{w.Server("s5")}, 1
				}
				w.Settled(servers[:stay]...)
				awake := 0
				for _, s := range servers[:stay] {
					awake += s.Host.Awake(ids)
				}
				if awake != len(ids) {
					w.T.Errorf("%d of %d runs are awake", awake, len(ids))
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
				def := w.Workflow("build", soft, hold(until))
				s1, s2 := w.Server("s1"), w.Server("s2")
				all := []*actorstest.Server{s1, s2}
				if servers == 3 {
					all = append(all, w.Server("s3"))
				}
				w.Settled(all...)
				for i := range 3 {
					w.Worker(fmt.Sprintf("w%d", i), def)
				}
				ids := w.Bulk(s1, def, 12)
				time.Sleep(2 * time.Second)
				w.Network.Split(s2.Network)
				time.Sleep(10 * time.Second)
				if !s2.Node.CutOff() || s1.Node.CutOff() {
					w.T.Errorf("cut off: s1 %v, s2 %v", s1.Node.CutOff(), s2.Node.CutOff())
				}
				if n := s2.Host.ActiveRuns(); n != 0 {
					w.T.Errorf("the server that is cut off has %d runs", n)
				}
				if n := s1.Host.Awake(ids); servers == 2 && n != len(ids) {
					w.T.Errorf("the other one has %d runs", n)
				}
				w.Network.Heal()
				w.Settled(all...)
				if s2.Node.CutOff() {
					w.T.Error("still cut off")
				}
				close(until)
				for _, id := range ids {
					w.Ends(s2, id, 30*time.Second, succeeded)
				}
				w.NotRepeated(ids)
			})
		})
	}
}

// A frozen server that goes on later finds its runs ended by others, and takes
// up what it owns from the journal.
func TestHostOfAFrozenServerBeginsAnew(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		until := make(chan struct{})
		def := w.Workflow("build", soft, hold(until))
		long := w.Workflow("long", none, hold(until))
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		w.Worker("w1", def)
		ids := w.Bulk(s1, def, 4)
		id := ""
		for i := 0; id == ""; i++ {
			if s2.Host.Owns(fmt.Sprintf("q%d", i)) {
				id = fmt.Sprintf("q%d", i)
			}
		}
		w.Record(long)
		w.Start(s1, id, long)
		time.Sleep(time.Second)
		s2.Network.Freeze()
		time.Sleep(5 * time.Second)
		// The run ends on the other server.
		if err := s1.Host.Engine().CancelRun(w.T.Context(), &messages.CancelRun{RunId: id, Reason: "no more"}); err != nil {
			w.T.Fatal(err)
		}
		s2.Network.Thaw()
		w.Settled(s1, s2)
		if n := s2.Host.Awake([]string{id}); n != 0 {
			w.T.Error("the old activation is still there")
		}
		close(until)
		for _, id := range ids {
			w.Ends(s2, id, 30*time.Second, succeeded)
		}
		w.NotRepeated(ids)
	})
}

// advance appends an entry as another server would.
func (w *hostWorld) advance(id string) {
	w.T.Helper()
	w.appendTo(id, messages.RunStatus_RUN_STATUS_CANCELED,
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_CANCELED}}})
}

// appendTo writes an entry as another server would.
func (w *hostWorld) appendTo(id string, status messages.RunStatus, events ...*messages.Event) {
	w.T.Helper()
	record, err := w.Store.Store.Load(w.T.Context(), id)
	if err != nil {
		w.T.Fatal(err)
	}
	last := record.Entries[len(record.Entries)-1]
	entry := new(messages.Entry)
	if err := messages.Unmarshal(last, entry); err != nil {
		w.T.Fatal(err)
	}
	entry.Events = events
	data, err := messages.Marshal(entry)
	if err != nil {
		w.T.Fatal(err)
	}
	row := record.Row
	row.Status, row.FinishedAt = status, time.Time{}
	if journal.Finished(status) {
		row.FinishedAt = time.Now()
	}
	if errs := w.Store.Store.Append(w.T.Context(), []journal.Append{{RunID: id, Number: uint64(len(record.Entries)) + 1, Entry: data, Row: &row}}); errs[0] != nil {
		w.T.Fatal(errs[0])
	}
}

// The sweep activates what nobody has, and stops what is behind the journal or
// of another server's.
func TestHostSweep(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, hold(nil))
		w.Record(def)
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		ids := w.Bulk(s1, def, 8)
		var mine []string
		for _, id := range ids {
			if s1.Host.Owns(id) {
				mine = append(mine, id)
			}
		}
		lost, behind := mine[0], mine[1]
		s1.Host.Lose(lost)
		w.advance(behind)
		stray := w.ownedBy(s2)
		s1.Host.ActivateStray(stray)
		time.Sleep(time.Second)
		if s1.Host.Awake([]string{lost}) != 0 || s1.Host.Awake([]string{behind}) != 1 {
			w.T.Fatal("the test has not begun")
		}
		time.Sleep(3 * server.SweepTurn)
		if s1.Host.Awake([]string{lost}) != 1 {
			w.T.Error("the run that nobody had is still asleep")
		}
		if s1.Host.Awake([]string{behind}) != 0 {
			w.T.Error("the run that has ended is still in memory")
		}
		if s1.Host.Awake([]string{stray}) != 0 {
			w.T.Error("the run of another server is still in memory")
		}
	})
}

// A run that another server ended, which had taken this one for dead, is told
// to those who wait for it here, as soon as this server hears that.
func TestHostDeclaredGoneTellsWaits(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, hold(nil))
		w.Record(def)
		s1 := w.Server("s1")
		w.Settled(s1)
		id := w.Bulk(s1, def, 1)[0]
		told := w.Later(0, func() {
			reply, err := s1.Host.Engine().WatchRun(w.T.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 20_000, UntilEnded: true, WithoutEntries: true})
			if err != nil || !reply.Ended || reply.Status != messages.RunStatus_RUN_STATUS_CANCELED {
				w.T.Errorf("%v, %v", reply, err)
			}
		})
		time.Sleep(time.Second)
		w.advance(id)
		begin := time.Now()
		s1.Host.DeclaredGone(cluster.Member{Name: "s2~1", Role: cluster.RoleServer})
		told()
		if took := time.Since(begin); took > time.Second {
			w.T.Errorf("it was told %v later", took)
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
		def := w.Workflow("build", none, succeed)
		w.Record(def)
		w.Store.Store = slowStore{w.Store.Store}
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		begin := time.Now()
		w.Bulk(s1, def, 2000)
		if took := time.Since(begin); took > 500*time.Millisecond {
			w.T.Errorf("2000 starts took %v with a journal that takes 10 ms to write", took)
		}
	})
}

func TestEngineAnswersWhileTheJournalIsDown(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, hold(nil))
		w.Record(def)
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		id, other := w.ownedBy(s1), w.ownedBy(s2)
		w.Start(s1, id, def)
		w.Start(s1, other, def)
		time.Sleep(time.Second)
		down := func(string, string) error { return actorstest.ErrJournalDown }
		w.Store.Before(down)
		unavailable := func(what string, call func(ctx context.Context) error) {
			w.T.Helper()
			begin := time.Now()
			err := call(w.T.Context())
			if took := time.Since(begin); messages.CodeOf(err) != messages.CodeJournalUnavailable || took > 10*time.Second {
				w.T.Errorf("%s after %v: %v", what, took, err)
			}
		}
		e := s1.Host.Engine()
		for _, id := range []string{id, other} {
			unavailable("cancel", func(ctx context.Context) error { return e.CancelRun(ctx, &messages.CancelRun{RunId: id}) })
			unavailable("start", func(ctx context.Context) error {
				replies, err := e.StartRuns(ctx, []*messages.StartRun{actorstest.StartOf(id+"-new", def)})
				if err != nil {
					return err
				}
				return messages.FromFailure(replies[0].Error)
			})
			unavailable("get", func(ctx context.Context) error { _, err := e.LoadRun(ctx, id); return err })
		}
		w.Store.Before(nil)
		for _, id := range []string{id, other} {
			w.Ends(s1, id, 10*time.Second, messages.RunStatus_RUN_STATUS_CANCELED)
			if r := w.startWithin(s1, 10*time.Second, actorstest.StartOf(id+"-new", def)); r.Error != nil || !r.Existed {
				w.T.Errorf("the start that was not known: %v", r)
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
				def := w.Workflow("build", soft, hold(until))
				s1, s2 := w.Server("s1"), w.Server("s2")
				w.Settled(s1, s2)
				w.Worker("w1", def)
				id := w.ownedBy(s2)
				w.Start(s1, id, def)
				time.AfterFunc(time.Second, func() {
					if leaves {
						s2.Retire(context.Background())
					} else {
						s2.Kill()
					}
				})
				time.AfterFunc(5*time.Second, func() { close(until) })
				begin := time.Now()
				for ended := false; !ended; {
					reply, err := s1.Host.Engine().WatchRun(w.T.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 60_000, UntilEnded: true, WithoutEntries: true})
					if err != nil {
						w.T.Fatal(err)
					}
					ended = reply.Ended
				}
				if took := time.Since(begin); took > 6*time.Second {
					w.T.Errorf("the end was heard of after %v", took)
				}
				w.NotRepeated([]string{id})
			})
		})
	}
}

// A wait for a run of another server asks again soon, whatever became of the
// answer; here that server itself does not hear of the end.
func TestEngineAsksOtherServersAgain(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, hold(nil))
		w.Record(def)
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		id := w.ownedBy(s2)
		w.Start(s1, id, def)
		var begin time.Time
		time.AfterFunc(time.Second, func() { begin = time.Now(); w.advance(id) })
		reply, err := s1.Host.Engine().WatchRun(w.T.Context(), &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: 60_000, UntilEnded: true, WithoutEntries: true})
		if err != nil || !reply.Ended {
			w.T.Fatalf("%v, %v", reply, err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			w.T.Errorf("the end was told %v late", took)
		}
	})
}

// A replay that another server has recorded is not refused by an activation that
// is behind the journal.
func TestEngineKnowsReplaysOfOtherServers(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, hold(nil))
		w.Record(def)
		s1 := w.Server("s1")
		w.Settled(s1)
		id := w.Bulk(s1, def, 1)[0]
		w.advance(id)
		w.appendTo(id, messages.RunStatus_RUN_STATUS_RUNNING,
			&messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{RequestId: "r1"}}})
		if err := s1.Host.Engine().ReplayRun(w.T.Context(), id, nil, "r1"); err != nil {
			w.T.Errorf("the replay that is recorded: %v", err)
		}
		if err := s1.Host.Engine().ReplayRun(w.T.Context(), id, nil, "r2"); messages.CodeOf(err) != messages.CodeRunNotFinished {
			w.T.Errorf("another one: %v", err)
		}
	})
}
