package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"

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

// times is how long the kill held things up.
func (s *stage) times(e *evidence) string {
	var out strings.Builder
	moved, hard := -1.0, -1.0
	for _, v := range e.runs {
		for _, x := range e.of(v.id) {
			switch {
			case v.sticky == sdk.Soft && len(v.bindings) > 1 && x.Epoch > v.bindings[0].epoch && x.Begin.After(s.killedAt):
				if after := x.Begin.Sub(s.killedAt).Seconds(); moved < 0 || after < moved {
					moved = after
				}
			case v.sticky == sdk.Hard && x.Worker == s.killed && !s.backAt.IsZero() && x.Begin.After(s.killedAt) && hard < 0:
				hard = x.Begin.Sub(s.backAt).Seconds()
			}
		}
	}
	if moved >= 0 {
		fmt.Fprintf(&out, "The first step of a run that moved began %.2fs after the kill", moved)
	}
	if hard >= 0 {
		fmt.Fprintf(&out, "; the pending step of %s began %.2fs after its worker was up again", nameHard, max(hard, 0))
	}
	if out.Len() > 0 {
		out.WriteString(".\n")
	}
	return out.String()
}
