package cluster

import "testing"

func TestEarlierProcessesOfAServerAreReplaced(t *testing.T) {
	heard := []Member{{Role: RoleServer, WorkerID: "a", Incarnation: "2"}, {Role: RoleWorker, WorkerID: "b", Incarnation: "2"}}
	for server, want := range map[string]bool{"a~1": true, "a~2": false, "a~3": false, "b~1": false, "c~1": false} {
		if got := replaced(server, heard); got != want {
			t.Errorf("%s: %v, want %v", server, got, want)
		}
	}
}
