package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/messages"
)

// bulk starts runs at once, and wants all of them durable.
func (w *hostWorld) bulk(s *testServer, def *messages.WorkflowDefinition, n int) []string {
	w.t.Helper()
	ids, runs := make([]string, n), make([]*messages.StartRun, n)
	for i := range n {
		ids[i] = fmt.Sprintf("r%d", i)
		runs[i] = startOf(ids[i], def)
	}
	replies, err := s.host.Engine().StartRuns(w.t.Context(), runs)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, r := range replies {
		if r.Error != nil || r.Existed {
			w.t.Errorf("start of %s: %v", ids[i], r)
		}
	}
	return ids
}

// recordedOnce wants one result in each history.
func (w *hostWorld) recordedOnce(ids []string) {
	w.t.Helper()
	for _, id := range ids {
		record, err := w.store.Store.Load(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		results, ends := 0, 0
		for _, data := range record.Entries {
			entry := new(messages.Entry)
			if err := messages.Unmarshal(data, entry); err != nil {
				w.t.Fatal(err)
			}
			for _, ev := range entry.Events {
				switch ev.Kind.(type) {
				case *messages.Event_StepSucceeded:
					results++
				case *messages.Event_RunEnded:
					ends++
				}
			}
		}
		if results != 1 || ends != 1 {
			w.t.Errorf("run %s has %d results and %d ends: %s", id, results, ends, w.history(id))
		}
	}
}

func TestHostOnAJournalThatFails(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		w.store.Store = journaltest.NewFaulty(journaltest.FaultyConfig{
			Seed: 1, FailBefore: 0.2, FailAfter: 0.2, Delay: 0.5, DelayMax: 200 * time.Millisecond})
		def := w.workflow("build", soft, succeed)
		s := w.server("s1")
		w.worker("w1", def)
		ids := w.bulk(s, def, 200)
		for _, id := range ids {
			w.ends(s, id, time.Minute, succeeded)
		}
		w.recordedOnce(ids)
	})
}

func TestHostOutlivesAnOutageOfTheJournal(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		store := journaltest.NewFaulty(journaltest.FaultyConfig{})
		w.store.Store = store
		def := w.workflow("build", hard, failOnce)
		s := w.server("s1")
		p := w.worker("w1", def)
		ids := w.bulk(s, def, 50)
		time.Sleep(5 * time.Second)
		store.SetDown(true)
		p.kill()
		time.Sleep(30 * time.Second)
		store.SetDown(false)
		time.Sleep(time.Second)
		w.worker("w1", def)
		for _, id := range ids {
			w.ends(s, id, time.Minute, succeeded)
		}
		w.recordedOnce(ids)
	})
}

// Two servers that do not see each other both think that they own all runs.
func TestHostsOfASplitClusterRecordOnce(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", soft, succeed)
		waits := make(chan struct{})
		long := w.workflow("long", soft, hold(waits))
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		w.worker("w1", def, long)
		ids := w.bulk(s1, long, 4)
		w.network.Split(s2.network)
		time.Sleep(5 * time.Second)
		for _, s := range []*testServer{s1, s2} {
			if len(s.node.View().Servers()) != 1 {
				w.t.Fatal("the cluster is not split")
			}
		}
		close(waits)
		time.Sleep(5 * time.Second)
		w.network.Heal()
		w.settled(s1, s2)
		for _, id := range ids {
			w.ends(s1, id, 30*time.Second, succeeded)
			w.ends(s2, id, 30*time.Second, succeeded)
		}
		w.recordedOnce(ids)
		time.Sleep(time.Minute)
		if n := s1.host.ActiveRuns() + s2.host.ActiveRuns(); n != 0 {
			w.t.Errorf("%d ended runs are still in memory", n)
		}
	})
}

// Of two servers that do not reach each other the one without workers says so
// and starts nothing; after the partition the starts find what the other one
// started.
func TestHostOfACutOffServerStartsNothing(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.workflow("build", none, succeed)
		s1, s2 := w.server("s1"), w.server("s2")
		w.settled(s1, s2)
		w.worker("w1", def)
		w.network.Split(s2.network)
		time.Sleep(6 * time.Second)
		ids := make([]string, 20)
		for i := range ids {
			ids[i] = fmt.Sprintf("r%d", i)
			if r := w.startWithin(s1, 10*time.Second, startOf(ids[i], def)); r.Error != nil || r.Existed {
				w.t.Fatal(r)
			}
			if r := w.startWithin(s2, time.Second, startOf(ids[i], def)); r.Error.GetCode() != string(messages.CodeUnavailable) {
				w.t.Fatalf("the start on the server that is cut off: %v", r)
			}
		}
		if n := s2.host.ActiveRuns(); n != 0 {
			w.t.Errorf("the server that is cut off has %d runs", n)
		}
		w.network.Heal()
		w.settled(s1, s2)
		for _, id := range ids {
			if r := w.startWithin(s2, 10*time.Second, startOf(id, def)); !r.GetExisted() {
				w.t.Errorf("the start after the partition: %v", r)
			}
			w.ends(s1, id, 30*time.Second, succeeded)
		}
		w.recordedOnce(ids)
	})
}
