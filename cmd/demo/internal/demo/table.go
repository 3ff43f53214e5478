package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/sdk"
)

// table of the runs.
func table(e *evidence) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTICKY\tWORKERS\tEPOCHS\tREBINDS, AND WHY\tREBUILDS\tSTEPS\tTIME\tEND")
	for _, v := range e.runs {
		executions := e.of(v.id)
		workers, _ := places(executions)
		rebuilds := 0
		for _, x := range executions {
			if x.Step != stepIndex && built(x) {
				rebuilds++
			}
		}
		var epoch uint64
		var why []string
		for i, b := range v.bindings {
			epoch = b.epoch
			if i > 0 {
				why = append(why, b.reason)
			}
		}
		rebinds := "0"
		if len(why) > 0 {
			rebinds = fmt.Sprintf("%d: %s", len(why), strings.Join(why, ", "))
		}
		end := "not ended"
		if v.ended {
			end = statusName(v.status)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%d/%d\t%s\t%s\n", v.name, stickyName(v.sticky), strings.Join(workers, " → "),
			epoch, rebinds, rebuilds, len(v.results), v.stepCount(), span(v.endedAt.Sub(v.started)), end)
	}
	_ = w.Flush()
	return out.String()
}

func stickyName(s sdk.Sticky) string { return strings.TrimPrefix(s.String(), "STICKY_") }

// times is how long the kill held things up: until the first step of a run
// that moved began, and from the restart until the HARD run's step did.
func (s *stage) times(e *evidence) string {
	var moved, pending time.Duration
	for _, x := range e.ledger {
		v := e.run(x.Run)
		switch {
		case v == nil || !x.Begin.After(s.killedAt):
		case v.sticky == sdk.Soft && moved == 0 && len(v.bindings) > 1 && x.Epoch > v.bindings[0].epoch:
			moved = x.Begin.Sub(s.killedAt)
		case v.sticky == sdk.Hard && pending == 0 && x.Begin.After(s.restartedAt):
			pending = x.Begin.Sub(s.restartedAt)
		}
	}
	return fmt.Sprintf("The first step of a run that moved began %s after the kill; the pending step of %s began %s after its worker was started again.\n",
		span(moved), nameHard, span(pending))
}
