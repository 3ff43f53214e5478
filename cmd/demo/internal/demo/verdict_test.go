package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// story is what runs and ledgers would tell of a demo.
type story struct {
	t *testing.T
	*evidence
	clock time.Time
}

// newStory tells of a SOFT run that moved off a killed worker, a HARD one that
// waited for it, and a parent with its child.
func newStory(t *testing.T) *story {
	s := &story{t: t, evidence: &evidence{dead: map[string]bool{"w1-dead": true}}, clock: time.Unix(1000, 0)}
	soft := s.addRun("soft-01", sdk.Soft, "w1-dead", "w2-a")
	hard := s.addRun(nameHard, sdk.Hard, "w1-dead", "w1-new")
	parent := s.addRun(nameParent, sdk.Soft, "w2-a")
	child := s.addRun(nameChild, sdk.Soft, "w2-a")
	child.parent = parent.id
	for _, v := range []*runView{soft, hard} {
		s.step(v, stepIndex, 1, 0, "built=told")
		s.step(v, stepAsk(0), 1, 0, "")
		s.lost(v, stepAsk(1), 1, 0)
		s.step(v, stepAsk(1), 2, 1, "built=told")
		for i := 2; i < len(questions); i++ {
			s.step(v, stepAsk(i), 1, 1, "")
		}
		s.step(v, stepReport, 1, 1, "")
	}
	s.step(parent, stepIndex, 1, 0, "built=told")
	for i := range questions {
		s.step(parent, stepAsk(i), 1, 0, "")
	}
	s.step(parent, stepDelegate, 1, 0, "spawned="+child.id)
	s.step(child, stepRank, 1, 0, "")
	s.step(child, stepSummary, 1, 0, "")
	s.step(parent, stepReport, 1, 0, "")
	return s
}

// run with a binding for each process: worker, dash, incarnation.
func (s *story) addRun(name string, sticky sdk.Sticky, processes ...string) *runView {
	v := &runView{
		name: name, id: "id-" + name, sticky: sticky, results: make(map[string][]result),
		corpus: Corpus{Root: s.t.TempDir()}, ended: true, status: sdk.Succeeded,
	}
	for i, p := range processes {
		worker, _, _ := strings.Cut(p, "-")
		v.bindings = append(v.bindings, binding{epoch: uint64(i + 1), worker: worker, incarnation: p, reason: "worker lost"})
	}
	s.runs = append(s.runs, v)
	return v
}

// step executes a step where the run is bound to by its i-th binding.
func (s *story) step(v *runView, step string, attempt, i int, note string) {
	x := s.lost(v, step, attempt, i)
	x.End, x.Note = s.clock, note
	output := Reported{Execution: x.ID}
	if step == stepReport {
		for _, group := range questions {
			for _, q := range group {
				output.Answers = append(output.Answers, Answer{Question: q})
			}
		}
	}
	data, err := json.Marshal(output)
	if err != nil {
		s.t.Fatal(err)
	}
	v.results[step] = append(v.results[step], result{attempt, data})
}

// lost executes a step that does not return.
func (s *story) lost(v *runView, step string, attempt, i int) *ledger.Execution {
	s.clock = s.clock.Add(time.Second)
	b := v.bindings[i]
	s.ledger = append(s.ledger, ledger.Execution{
		ID: fmt.Sprintf("%s#%d", b.incarnation, len(s.ledger)), Worker: b.worker, Incarnation: b.incarnation,
		Run: v.id, Step: step, Attempt: attempt, Epoch: b.epoch, Begin: s.clock,
	})
	return &s.ledger[len(s.ledger)-1]
}

func (s *story) find(name, step string) *ledger.Execution {
	for i, x := range s.ledger {
		if x.Run == "id-"+name && x.Step == step {
			return &s.ledger[i]
		}
	}
	s.t.Fatalf("%s %s was not executed", name, step)
	return nil
}

func TestAGoodDemoKeepsEveryPromise(t *testing.T) {
	for _, p := range newStory(t).judge(t.Context()) {
		if len(p.broken) > 0 {
			t.Errorf("%s: %q", p.text, p.broken)
		}
	}
}

// TestEveryBrokenPromiseIsSeen breaks one after the other.
func TestEveryBrokenPromiseIsSeen(t *testing.T) {
	for promise, breaks := range map[string]map[string]func(*story){
		"every run ended": {
			"not ended": func(s *story) { s.runs[0].ended = false },
			"failed": func(s *story) {
				s.runs[1].status, s.runs[1].failure = sdk.Failed, &messages.Failure{Message: "no"}
			},
		},
		"each result was recorded once": {
			"twice": func(s *story) {
				r := s.runs[0].results
				r[stepIndex] = append(r[stepIndex], r[stepIndex][0])
			},
			"of no execution":     func(s *story) { s.find(nameHard, stepReport).ID = "other" },
			"of another attempt":  func(s *story) { s.find(nameHard, stepReport).Attempt = 2 },
			"of one that did not": func(s *story) { s.find(nameHard, stepReport).End = time.Time{} },
			"missing":             func(s *story) { delete(s.runs[2].results, stepDelegate) },
		},
		"no step was executed again": {
			"without a loss": func(s *story) { s.step(s.runs[2], stepReport, 2, 0, "") },
			"same attempt":   func(s *story) { s.find("soft-01", stepAsk(1)).Attempt = 2 },
		},
		"HARD never ran on another worker": {
			"moved": func(s *story) { s.find(nameHard, stepReport).Worker = "w3" },
			"not held up": func(s *story) {
				for i := range s.ledger {
					s.ledger[i].Incarnation = "w1-new"
				}
			},
		},
		"SOFT moved only": {
			"off a live worker": func(s *story) { s.runs[0].bindings[0].incarnation = "w1-new" },
			"without a reason":  func(s *story) { s.runs[0].bindings[1].reason = "" },
			"by two epochs":     func(s *story) { s.runs[0].bindings[1].epoch = 3 },
			"not at all":        func(s *story) { s.runs[0].bindings = s.runs[0].bindings[:1] },
		},
		"every execution was where": {
			"other worker": func(s *story) { s.find(nameParent, stepAsk(3)).Worker = "w3" },
			"old epoch":    func(s *story) { s.find("soft-01", stepReport).Epoch = 1 },
		},
		"the sticky child ran": {
			"bound elsewhere": func(s *story) { s.runs[3].bindings[0].worker = "w3" },
			"ran elsewhere":   func(s *story) { s.find(nameChild, stepRank).Incarnation = "w3-a" },
			"none":            func(s *story) { s.runs = s.runs[:3] },
		},
		"each step that had lost its index": {
			"not told": func(s *story) { s.find(nameParent, stepAsk(2)).Note = "built=not-told" },
		},
		"the answers from memory": {
			"wrong": func(s *story) { s.runs[0].results[stepReport][0].output = []byte(`{"answers":[]}`) },
		},
	} {
		for name, breakIt := range breaks {
			s := newStory(t)
			breakIt(s)
			seen := false
			for _, p := range s.judge(t.Context()) {
				seen = seen || strings.HasPrefix(p.text, promise) && len(p.broken) > 0
			}
			if !seen {
				t.Errorf("%s: %s: not seen", promise, name)
			}
		}
	}
}
