package run

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// What calls wait for, in words.

// words say what a call waits for.
func (w callWait) words() string {
	const shown = 3
	var all []string
	for _, b := range w.branches[:min(shown, len(w.branches))] {
		all = append(all, branchWords(b))
	}
	if more := len(w.branches) - shown; more > 0 {
		all = append(all, fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, " or ")
}

// failedWords say what is wrong with conditions.
func (w callWait) failedWords() string {
	var all []string
	for _, b := range w.branches {
		if b.event.failed != "" {
			all = append(all, fmt.Sprintf("event %q: %s", b.name, b.event.failed))
		}
	}
	return strings.Join(all, "; ")
}

func branchWords(b branch) string {
	switch b.kind {
	case messages.CallKind_CALL_KIND_RECEIVE:
		return fmt.Sprintf("signal %q", b.name)
	case messages.CallKind_CALL_KIND_SLEEP:
		return "the time " + b.until.UTC().Format(time.RFC3339)
	case messages.CallKind_CALL_KIND_CHILD:
		return "child " + b.name
	case messages.CallKind_CALL_KIND_EVENT:
		return b.eventWords()
	}
	return b.kind.Words()
}

// OpenWait is a call that waits, as it is shown.
type OpenWait struct {
	Kind      messages.CallKind
	Name, Key string
	// Until is when time alone ends it, in engine time: its timeout, or the first of
	// its sleeps.
	Since, Until time.Time
	// Words say what it waits for; Failed of which condition it cannot be said whether
	// an event meets it.
	Words, Failed string
}

// OpenWaits are the calls of each step that wait, in the order in which they began to.
// toEngine is when the wall clock shows a time; nil while it shows engine time.
func (s *State) OpenWaits(toEngine func(wall time.Time) time.Time) map[*Step][]OpenWait {
	shown := map[*Step][]OpenWait{}
	for _, w := range s.undecided(func(callWait) bool { return true }) {
		st := &s.Steps[w.step]
		shown[st] = append(shown[st], OpenWait{w.kind, w.key.name, w.key.key, w.since, w.next(toEngine), w.words(), w.failedWords()})
	}
	return shown
}

// AwaitedCalls says in words what steps wait for in calls: the one that began first,
// and how many more there are. Empty for none.
func (s *State) AwaitedCalls() string {
	all := s.undecided(func(callWait) bool { return true })
	if len(all) == 0 {
		return ""
	}
	first := slices.MinFunc(all, func(a, b waiting) int { return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.turn, b.turn)) })
	words := fmt.Sprintf("%s for step %q", first.words(), s.Steps[first.step].Def.Name)
	if first.kind != messages.CallKind_CALL_KIND_SLEEP {
		words += ", until " + first.deadline.UTC().Format(time.RFC3339)
	}
	switch more := len(all) - 1; more {
	case 0:
	case 1:
		words += ", and for one more thing"
	default:
		words += fmt.Sprintf(", and for %d more things", more)
	}
	return words
}
