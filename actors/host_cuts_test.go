package actors

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// cut breaks something at random, and says what.
func (w *hostWorld) cut(rnd *rand.Rand, servers []*testServer, workers []*hostWorker) string {
	a, b := servers[rnd.IntN(len(servers))], servers[rnd.IntN(len(servers))]
	p := workers[rnd.IntN(len(workers))]
	switch rnd.IntN(6) {
	case 0:
		w.network.Split(a.network)
		return "split " + a.node.Self().WorkerID
	case 1:
		w.network.SplitOneWay(a.network, b.network)
		return fmt.Sprintf("lose what %s sends to %s", a.node.Self().WorkerID, b.node.Self().WorkerID)
	case 2:
		w.network.SplitOneWay(a.network, p.network)
		return fmt.Sprintf("lose what %s sends to %s", a.node.Self().WorkerID, p.node.Self().WorkerID)
	case 3:
		for _, s := range servers {
			w.network.SplitOneWay(a.network, s.network)
		}
		return "mute " + a.node.Self().WorkerID
	case 4:
		a.network.Freeze()
		return "freeze " + a.node.Self().WorkerID
	}
	w.store.before(func(string, string) error { return errJournalDown })
	return "store down"
}

// Whatever is cut, one way or both, with the journal out of reach at the same
// time or not: a moment after it has healed all servers own shards again, every
// run is in memory once, and nothing was done twice.
func TestHostsOutliveCuts(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hostBubble(t, func(w *hostWorld) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				until := make(chan struct{})
				def := w.workflow("build", soft, hold(until))
				servers := []*testServer{w.server("s1"), w.server("s2")}
				if rnd.IntN(2) == 0 {
					servers = append(servers, w.server("s3"))
				}
				w.settled(servers...)
				workers := []*hostWorker{w.worker("w1", def), w.worker("w2", def)}
				ids := w.bulk(servers[0], def, 30)
				time.Sleep(time.Second)
				var done []string
				for range 1 + rnd.IntN(3) {
					done = append(done, w.cut(rnd, servers, workers))
					time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
				}
				time.Sleep(time.Duration(rnd.IntN(25_000)) * time.Millisecond)
				heal := []func(){w.network.Heal, func() { w.store.before(nil) }}
				for _, i := range rnd.Perm(2) {
					heal[i]()
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				}
				for _, s := range servers {
					s.network.Thaw()
				}
				time.Sleep(5 * time.Second)
				awake := 0
				for _, s := range servers {
					awake += s.awake(ids)
				}
				if !whole(servers) || awake != len(ids) {
					w.t.Errorf("%s: 5 s later all see each other: %v, %d of %d runs awake", strings.Join(done, ", "), whole(servers), awake, len(ids))
				}
				close(until)
				for _, id := range ids {
					w.ends(servers[0], id, 30*time.Second, succeeded)
				}
				w.recordedOnce(ids)
			})
		})
	}
}
