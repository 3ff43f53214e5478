package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/messages"
)

func TestHostOnAJournalThatFails(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		w.Store.Store = journaltest.NewFaulty(journaltest.FaultyConfig{
			Seed: 1, FailBefore: 0.2, FailAfter: 0.2, Delay: 0.5, DelayMax: 200 * time.Millisecond})
		def := w.Workflow("build", soft, succeed)
		s := w.Server("s1")
		w.Worker("w1", def)
		ids := w.Bulk(s, def, 200)
		for _, id := range ids {
			w.Ends(s, id, time.Minute, succeeded)
		}
		w.RecordedOnce(ids)
	})
}

func TestHostOutlivesAnOutageOfTheJournal(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		store := journaltest.NewFaulty(journaltest.FaultyConfig{})
		w.Store.Store = store
		def := w.Workflow("build", hard, failOnce)
		s := w.Server("s1")
		p := w.Worker("w1", def)
		ids := w.Bulk(s, def, 50)
		time.Sleep(5 * time.Second)
		store.SetDown(true)
		p.Kill()
		time.Sleep(30 * time.Second)
		store.SetDown(false)
		time.Sleep(time.Second)
		w.Worker("w1", def)
		for _, id := range ids {
			w.Ends(s, id, time.Minute, succeeded)
		}
		w.RecordedOnce(ids)
	})
}

// Two servers that do not see each other both think that they own all runs.
func TestHostsOfASplitClusterRecordOnce(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", soft, succeed)
		waits := make(chan struct{})
		long := w.Workflow("long", soft, hold(waits))
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		w.Worker("w1", def, long)
		ids := w.Bulk(s1, long, 4)
		w.Network.Split(s2.Network)
		time.Sleep(5 * time.Second)
		for _, s := range []*actorstest.Server{s1, s2} {
			if len(s.Node.View().Servers()) != 1 {
				w.T.Fatal("the cluster is not split")
			}
		}
		close(waits)
		time.Sleep(5 * time.Second)
		w.Network.Heal()
		w.Settled(s1, s2)
		for _, id := range ids {
			w.Ends(s1, id, 30*time.Second, succeeded)
			w.Ends(s2, id, 30*time.Second, succeeded)
		}
		w.RecordedOnce(ids)
		time.Sleep(time.Minute)
		if n := s1.Host.ActiveRuns() + s2.Host.ActiveRuns(); n != 0 {
			w.T.Errorf("%d ended runs are still in memory", n)
		}
	})
}

// Of two servers that do not reach each other the one without workers says so
// and starts nothing; after the partition the starts find what the other one
// started.
func TestHostOfACutOffServerStartsNothing(t *testing.T) {
	hostBubble(t, func(w *hostWorld) {
		def := w.Workflow("build", none, succeed)
		s1, s2 := w.Server("s1"), w.Server("s2")
		w.Settled(s1, s2)
		w.Worker("w1", def)
		w.Network.Split(s2.Network)
		time.Sleep(6 * time.Second)
		ids := make([]string, 20)
		for i := range ids {
			ids[i] = fmt.Sprintf("r%d", i)
			if r := w.startWithin(s1, 10*time.Second, actorstest.StartOf(ids[i], def)); r.Error != nil || r.Existed {
				w.T.Fatal(r)
			}
			if r := w.startWithin(s2, time.Second, actorstest.StartOf(ids[i], def)); r.Error.GetCode() != string(messages.CodeUnavailable) {
				w.T.Fatalf("the start on the server that is cut off: %v", r)
			}
		}
		if n := s2.Host.ActiveRuns(); n != 0 {
			w.T.Errorf("the server that is cut off has %d runs", n)
		}
		w.Network.Heal()
		w.Settled(s1, s2)
		for _, id := range ids {
			if r := w.startWithin(s2, 10*time.Second, actorstest.StartOf(id, def)); !r.GetExisted() {
				w.T.Errorf("the start after the partition: %v", r)
			}
			w.Ends(s1, id, 30*time.Second, succeeded)
		}
		w.RecordedOnce(ids)
	})
}
