package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
)

// told is a progress as the load tells it: of an attempt, and its number in that.
type told struct{ attempt, serial int }

func toldOf(value string) (p told) {
	_, _ = fmt.Sscanf(value, "%d.%d", &p.attempt, &p.serial)
	return p
}

func (p told) compare(other told) int {
	return cmp.Or(cmp.Compare(p.attempt, other.attempt), cmp.Compare(p.serial, other.serial))
}

// checkProgress compares what the attempts of a step were given with what those before
// have told: it is one of these, no older than what an attempt before was given, and no
// older than the last of an attempt that has failed.
func (h *history) checkProgress() {
	tells, least := map[string]map[told]bool{}, map[string]told{}
	begun := slices.SortedStableFunc(slices.Values(h.executions), func(a, b *ledger.Execution) int { return cmp.Compare(a.Attempt, b.Attempt) })
	for _, e := range begun {
		a := h.byKey[attemptKey{e.Step, int32(e.Attempt)}]
		if a == nil {
			continue
		}
		key := fmt.Sprintf("%s/%d/%d", e.Step, a.generation, a.link)
		if tells[key] == nil {
			tells[key] = map[told]bool{}
		}
		given, last := told{}, told{}
		for _, d := range e.Did {
			switch p := toldOf(d.Value); d.What {
			case Given:
				given = p
				h.c.report.Seen.Given++
				if !tells[key][p] {
					h.breaks(RuleProgress, "%s#%d is given progress %s, which no attempt before it has told", e.Step, e.Attempt, d.Value)
				}
			case Tells:
				tells[key][p] = true
			case Told:
				last = p
			}
		}
		if given.compare(least[key]) < 0 {
			h.breaks(RuleProgress, "%s#%d is given progress %d.%d, and there was %d.%d", e.Step, e.Attempt, given.attempt, given.serial, least[key].attempt, least[key].serial)
		}
		if least[key] = given; a.ending == failed && !a.abandoned && last.compare(given) > 0 {
			least[key] = last
		}
	}
}
