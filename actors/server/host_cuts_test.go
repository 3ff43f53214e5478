package server_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/actorstest"
)

// cut breaks something at random, and says what.
func (w *hostWorld) cut(rnd *rand.Rand, servers []*actorstest.Server, workers []*actorstest.Worker) string {
	a, b := servers[rnd.IntN(len(servers))], servers[rnd.IntN(len(servers))]
	p := workers[rnd.IntN(len(workers))]
	switch rnd.IntN(6) {
	case 0:
		w.Network.Split(a.Network)
		return "split " + a.Node.Self().WorkerID
	case 1:
		w.Network.SplitOneWay(a.Network, b.Network)
		return fmt.Sprintf("lose what %s sends to %s", a.Node.Self().WorkerID, b.Node.Self().WorkerID)
	case 2:
		w.Network.SplitOneWay(a.Network, p.Network)
		return fmt.Sprintf("lose what %s sends to %s", a.Node.Self().WorkerID, p.Node.Self().WorkerID)
	case 3:
		for _, s := range servers {
			w.Network.SplitOneWay(a.Network, s.Network)
		}
		return "mute " + a.Node.Self().WorkerID
	case 4:
		a.Network.Freeze()
		return "freeze " + a.Node.Self().WorkerID
	}
	w.Store.Before(func(string, string) error { return actorstest.ErrJournalDown })
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
				def := w.Workflow("build", soft, hold(until))
				servers := []*actorstest.Server{w.Server("s1"), w.Server("s2")}
				if rnd.IntN(2) == 0 {
					servers = append(servers, w.Server("s3"))
				}
				w.Settled(servers...)
				workers := []*actorstest.Worker{w.Worker("w1", def), w.Worker("w2", def)}
				ids := w.Bulk(servers[0], def, 30)
				time.Sleep(time.Second)
				var done []string
				for range 1 + rnd.IntN(3) {
					done = append(done, w.cut(rnd, servers, workers))
					time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
				}
				time.Sleep(time.Duration(rnd.IntN(25_000)) * time.Millisecond)
				heal := []func(){w.Network.Heal, func() { w.Store.Before(nil) }}
				for _, i := range rnd.Perm(2) {
					heal[i]()
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				}
				for _, s := range servers {
					s.Network.Thaw()
				}
				time.Sleep(5 * time.Second)
				awake := 0
				for _, s := range servers {
					awake += s.Host.Awake(ids)
				}
				if !whole(servers) || awake != len(ids) {
					w.T.Errorf("%s: 5 s later all see each other: %v, %d of %d runs awake", strings.Join(done, ", "), whole(servers), awake, len(ids))
				}
				close(until)
				for _, id := range ids {
					w.Ends(servers[0], id, 30*time.Second, succeeded)
				}
				w.RecordedOnce(ids)
			})
		})
	}
}
