package run

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/limpetrun/limpet/messages"
)

// What a HARD run waits for is named as it is now, whatever it was before, and so
// does the failure when its time is over.
func TestWaitingIsNamedAsItIsNow(t *testing.T) {
	was := map[string]string{
		"lost":             "gone w1",
		"left":             "gone w1 worker left",
		"superseded":       "gone w1 worker superseded",
		"without step":     "up w1~i2 lacking=b",
		"without workflow": "up w1~i2 lacking-workflow",
		"step refused":     "refused a#1 step gone",
		"draining anew":    "gone w1; draining w1~i2",
		"drain refused":    "refused a#1 worker draining",
		"full":             "queued a#1",
		"at work":          "started a#1",
		"silent":           "",
	}
	const gone = "gone w1; gone w1~i2; "
	now := []struct {
		name, lines, waits string
		fails              bool
	}{
		{"lost", "gone w1; gone w1~i2", `worker "w1" to come back (worker lost)`, true},
		{"left", "gone w1 worker left; gone w1~i2 worker left", `worker "w1" to come back (worker left)`, true},
		{"back and lost", gone + "up w1~i3 lacking=b; gone w1~i3", `worker "w1" to come back (worker lost)`, true},
		{"without step", gone + "up w1~i3 lacking=b", `step "b" of workflow "wf" on worker "w1", which is up without`, true},
		{"without workflow", gone + "up w1~i3 lacking-workflow", `workflow "wf" with steps "a", "b" on worker "w1", which is up without it`, true},
		{"draining without step", gone + "up w1~i3 lacking=b; draining w1~i3 lacking=b", `step "b" of workflow "wf" on worker "w1", which is up without`, true},
		{"draining", gone + "draining w1~i3", `worker "w1", which is draining`, true},
		{"undrained", gone + "draining w1~i3; up w1~i3", "", false},
		{"drain refused", gone + "up w1~i3; refused worker draining", `worker "w1", which is draining`, false},
		{"full", gone + "up w1~i3; queued", `a slot of worker "w1": all 1 are busy, 3 attempts were ahead`, false},
		{"at work", gone + "up w1~i3; started", "", false},
	}
	for before, lines := range was {
		for _, n := range now {
			t.Run(before+", then "+n.name, func(t *testing.T) {
				s := hardScript(t)
				s.lines("start; placed w1; " + lines + "; pass 1ms; " + n.lines)
				if got := s.m.WaitingFor(); got != n.waits {
					t.Fatalf("the run waits for %q, want %q", got, n.waits)
				}
				if !n.fails {
					return
				}
				// A run that was woken hears again from the roster.
				news := strings.Split(n.lines, ";")
				s.lines("pass 59s; " + news[len(news)-1] + "; pass 10m")
				st := s.m.State()
				if text := st.Failure.GetMessage(); !strings.Contains(text, "it waited for "+n.waits) {
					t.Errorf("the run is %v: %q, want that it waited for %q", st.Status, text, n.waits)
				}
			})
		}
	}
}

// hardScript is one of a HARD run of two steps, one after the other.
func hardScript(t *testing.T) *script {
	def := &messages.WorkflowDefinition{Name: "wf", Sticky: messages.Sticky_STICKY_HARD, Steps: []*messages.StepDefinition{
		{Name: "a", ScheduleTimeoutMs: 60_000, LostAttemptsMax: 100}, {Name: "b", Parents: []string{"a"}}}}
	return &script{t: t, d: &datadriven.TestData{}, def: def, m: New(scriptRun, def, &Config{}), now: scriptEpoch,
		folded: NewState(scriptRun, def), names: map[uint64]string{}, open: map[string]uint64{}}
}

// lines does one after the other; what is said of an attempt without its number is
// of the newest.
func (s *script) lines(text string) {
	for _, line := range strings.Split(text, ";") {
		w := newWords(line)
		switch w.at(0) {
		case "":
			continue
		case "queued", "started", "refused":
			if !strings.Contains(line, "#") {
				w.plain = append([]string{w.at(0), fmt.Sprintf("a#%d", s.m.State().Steps[0].Attempt)}, w.plain[1:]...)
			}
		}
		s.command(w)
	}
}
