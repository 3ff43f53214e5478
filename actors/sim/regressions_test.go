package sim

import "testing"

// regressions are seeds that found a fault when it was there, by its name. The
// model has changed since for some of them; the rules are also broken on
// purpose by cmd/mutate.
var regressions = []struct {
	name string
	seed uint64
}{
	{"a question asked of a placement that moves at that moment", 40},
	{"a second placement's answer to a question that was used", 246},
	{"a withdrawal that overtakes its question, which another activation asks too", 554},
	{"a question whose place two other activations took in turn", 1228},
	{"a server that was missed for a moment, and whose questions were forgotten", 1436},
	{"a process that wakes before its successor has said who it is", 1128},
	{"a question asked again whose answer is lost", 2254},
	{"a child whose start comes after its parent was canceled on another server", 417},
	{"a child that is not there, and is canceled while others ask for it", 21058},
	{"an attempt sent again under a new term by an activation of which no entry tells", 201},
	{"a silent holder of a worker id that was only frozen", 5047},
	{"what was sent to a worker that had no lease yet, and was called lost", 6791},
	{"a worker whose only server ended, and which had not heard of the other", 6993},
	{"a drain that was over before the roster heard of it", 9787},
	{"a lease that lasts while all servers are away, and a server that takes long to listen", 3110},
	{"a replay that has its run go on as new at once, and does not execute its steps", 2218},
	{"a late word of a hand-off by a worker that the run has left", 2239},
	{"such a replay of a run that nobody has room for", 2364},
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		t.Run(r.name, func(t *testing.T) {
			if res := Run(r.seed, false, nil); res.Err != nil {
				t.Error(res.Err)
			}
		})
	}
}
