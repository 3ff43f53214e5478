package cluster

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// The clock of the store is set while one server dies and another one lives:
// only what is given again is fresh.
func TestSignsWhateverTheClockOfTheStore(t *testing.T) {
	for _, step := range []time.Duration{0, -time.Hour, -2 * time.Second, 30 * time.Second} {
		var seen seenSigns
		begin := time.Now()
		given := map[string]time.Duration{} // by the store's clock
		serials := map[string]uint64{}
		for at := time.Duration(0); at < 20*time.Second; at += signEvery {
			clock := time.Hour + at
			if at >= 6*time.Second {
				clock += step
			}
			var signs []Sign
			for _, server := range []string{"dead~1", "live~1"} {
				if server == "live~1" || at < 5*time.Second {
					given[server] = clock
					serials[server]++
				}
				data, err := proto.Marshal(&messages.ServerSign{Serial: serials[server]})
				if err != nil {
					t.Fatal(err)
				}
				signs = append(signs, Sign{server, data, max(0, clock-given[server])})
			}
			var got []string
			for _, s := range seen.fresh(begin.Add(at), signs) {
				got = append(got, s.server)
			}
			if !slices.Contains(got, "live~1") {
				t.Errorf("clock set by %v, after %v: the sign of the live server is not fresh", step, at)
			}
			if slices.Contains(got, "dead~1") && at > 5*time.Second+2*signFresh {
				t.Errorf("clock set by %v: the sign of a server that died %v ago is fresh", step, at-5*time.Second)
			}
		}
	}
}

func TestEarlierProcessesOfAServerAreReplaced(t *testing.T) {
	heard := []Member{{Role: RoleServer, WorkerID: "a", Incarnation: "2"}, {Role: RoleWorker, WorkerID: "b", Incarnation: "2"}}
	for server, want := range map[string]bool{"a~1": true, "a~2": false, "a~3": false, "b~1": false, "c~1": false} {
		if got := replaced(server, heard); got != want {
			t.Errorf("%s: %v, want %v", server, got, want)
		}
	}
}
