package verdict

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The checker has nothing to say of what is as it should be, whatever happened
// on the way, and measures how long it took.
func TestSilentAboutEverythingLegitimate(t *testing.T) {
	s := everything()
	r := Check(s.evidence, s.faults)
	var table strings.Builder
	if err := r.Print(&table); err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Fatalf("\n%s", table.String())
	}
	for kind, want := range map[Kind]float64{
		WorkerKill: 2, WorkerStop: 2, HardReturn: 0.5, ServerKill: 2, PostgresRestart: 0.4, Partition: 2.5, Cut: 1.2,
	} {
		got, ok := r.Recovery[kind].Median()
		if !ok || math.Abs(got-want) > 0.2 {
			t.Errorf("%s took %v s (%t), want %v: %v", kind, got, ok, want, r.Recovery[kind].Samples)
		}
	}
	seen := r.Seen
	if seen.Lost == 0 || seen.Rebound == 0 || seen.HardReturned != 3 || seen.Refused != 4 || seen.Retried == 0 || seen.TimedOut != 1 ||
		seen.Canceled != 4 || seen.Replayed != 3 || seen.EndSteps != 2 || seen.StickyChildren != 2 || seen.PlainChildren != 3 {
		t.Errorf("seen %+v", seen)
	}
	if seen.Rebuilds != 3 || seen.StateLost != 1 || seen.Handoffs != 3 || seen.Received != 2 || seen.Drained != 7 || seen.Fenced != 2 || seen.Values != 9 {
		t.Errorf("seen of local state %+v", seen)
	}
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"seed":1`, `"worker_kill":2`, `"violations":{`, `"recovery_s":{`, `"not_ended":0`, `"overlap":0`, `"rebuilds":3`, `"handoffs":3`, `"drains":5`, `"fenced":2`, `"server_stop":null`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("the line lacks %s: %s", want, line)
		}
	}
	if strings.Contains(string(line), "\n") {
		t.Error("the line is more than one")
	}
}

// What was kept in a file is judged as it was before.
func TestEvidenceIsKept(t *testing.T) {
	s := everything()
	corruptions[0].do(&drawn{scene: s, t: t, r: rand.New(rand.NewPCG(1, 1))})
	data, err := json.Marshal(s.evidence)
	if err != nil {
		t.Fatal(err)
	}
	var kept Evidence
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	want, got := Check(s.evidence, s.faults), Check(kept, s.faults)
	if want.OK() || !reflect.DeepEqual(want, got) {
		t.Errorf("%+v, before %+v", got, want)
	}
}

// A fault that another one may have prolonged is no sample; one on a worker
// that had no part in it does not count as such.
func TestRecoveryIsOfOneFault(t *testing.T) {
	for name, c := range map[string]struct {
		other Fault
		want  int
	}{
		"a server":                {Fault{Kind: ServerKill, Target: "server-1"}, 0},
		"the worker it went to":   {Fault{Kind: WorkerPause, Target: "w2"}, 0},
		"the database":            {Fault{Kind: PostgresFreeze}, 0},
		"a worker without a part": {Fault{Kind: WorkerPause, Target: "w9"}, 1},
	} {
		s := newScene()
		workerKilled(s)
		s.evidence.At = s.pass(time.Second)
		c.other.At = s.faults[0].At.Add(time.Second)
		c.other.Until = c.other.At.Add(100 * time.Millisecond)
		r := Check(s.evidence, append(s.faults, c.other))
		if got := len(r.Recovery[WorkerKill].Samples); got != c.want || !r.OK() {
			t.Errorf("%s: %d samples, %v", name, got, r.All)
		}
	}
}
