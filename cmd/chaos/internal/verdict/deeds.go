package verdict

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// Deeds that steps of the load note in the ledger. What each is about follows: the name
// of a call and its number in the step.
const (
	// Made: the function of a call begins. Got: the call returned; the value is its
	// result. Took: a message was received; the value is its payload.
	Made = "made "
	Got  = "got "
	Took = "took "

	// Given: the attempt was given a progress. Tells: it is about to tell one, and Told: it
	// has. The value is the attempt and its number in that, such as 3.1.
	Given = "given progress"
	Tells = "tells progress"
	Told  = "told progress"

	// Writes: the attempt is about to write a piece of a stream, the value. Wrote: all that it
	// has written is durable.
	Writes = "writes piece"
	Wrote  = "wrote pieces"
)

type callKey struct{ step, name, key string }

// callRecorded: a call is recorded once, and a message received once. What a
// suspended attempt waits for is recorded as its call.
func (h *history) callRecorded(k *messages.CallRecorded) {
	key := callKey{k.GetStep(), k.GetName(), k.GetKey()}
	if h.calls[key] != nil {
		h.breaks(RuleRecordedTwice, "call %s %s of step %s is recorded by #%d, and was by #%d", key.name, key.key, key.step, k.GetAttempt(), h.calls[key].GetAttempt())
	}
	h.calls[key] = k
	h.decided(key, k)
	id := k.GetMessageId()
	switch {
	case id == "":
	case h.taken[id]:
		h.breaks(RuleMessages, "message %s is received by call %s %s of step %s, and was received before", id, key.name, key.key, key.step)
	case !h.messages[id]:
		h.breaks(RuleMessages, "message %s is received by call %s %s of step %s, and was not sent", id, key.name, key.key, key.step)
	default:
		h.taken[id] = true
		h.c.report.Seen.Taken++
	}
	h.eventCame(key, k.GetEvent())
}

func (h *history) signaled(k *messages.Signaled) {
	if h.messages[k.GetMessageId()] {
		h.breaks(RuleMessages, "message %s is there twice", k.GetMessageId())
	}
	h.messages[k.GetMessageId()] = true
	h.c.report.Seen.Messages++
}

// deed is one of an execution, in the generation of its attempt.
type deed struct {
	ledger.Deed
	by *ledger.Execution
}

// checkDeeds compares what the executions of a step did and were given, by the ledger.
func (h *history) checkDeeds() {
	type of struct {
		generation int
		step       string
	}
	all := map[of][]deed{}
	for _, e := range h.executions {
		if a := h.byKey[attemptKey{e.Step, int32(e.Attempt)}]; a != nil {
			for _, d := range e.Did {
				if slices.Contains([]string{Given, Tells, Told, Writes, Wrote}, d.What) {
					continue // checkProgress's and checkStream's
				}
				all[of{a.generation, e.Step}] = append(all[of{a.generation, e.Step}], deed{d, e})
			}
		}
	}
	for _, deeds := range all {
		slices.SortStableFunc(deeds, func(a, b deed) int { return a.At.Compare(b.At) })
		h.checkDeedsOf(deeds)
	}
}

// checkDeedsOf checks those of one step, in their order. Who made a call when another
// process had its result already is one that was frozen: it began before.
func (h *history) checkDeedsOf(deeds []deed) {
	made, got := map[string]bool{}, map[string]deed{}
	for _, d := range deeds {
		kind, call := d.What[:min(len(Made), len(d.What))], ""
		for _, k := range []string{Made, Got, Took} {
			if len(d.What) > len(k) && d.What[:len(k)] == k {
				kind, call = k, d.What[len(k):]
			}
		}
		before, known := got[call]
		switch {
		case kind == Made && known && (before.by == d.by || d.by.Begin.After(before.At)):
			h.breaks(RuleCalls, "call %s of %s#%d is made at %s, and #%d had got its result %q at %s", call, d.by.Step, d.by.Attempt, clock(d.At), before.by.Attempt, before.Value, clock(before.At))
		case kind == Made:
			made[d.by.ID+call] = true
			h.c.report.Seen.Made++
		case known && before.Value != d.Value:
			h.breaks(ruleOf(kind), "%s%s of %s#%d is %q, and #%d had got %q", kind, call, d.by.Step, d.by.Attempt, d.Value, before.by.Attempt, before.Value)
		default:
			if kind == Got && !made[d.by.ID+call] {
				h.c.report.Seen.Recalled++
			}
			if !known {
				got[call] = d
			}
		}
	}
}

func ruleOf(kind string) Rule {
	if kind == Took {
		return RuleMessages
	}
	return RuleCalls
}

// canceled says that somebody asked for the end of the run.
func (c *checker) canceled(run string) bool {
	return slices.ContainsFunc(c.evidence.Calls, func(call Call) bool { return call.Act == ActCancel && slices.Contains(call.Runs, run) })
}

// checkSignal: an acknowledged message is in the history, from no later on.
func (c *checker) checkSignal(call *Call) {
	h := c.runs[call.Runs[0]]
	if h == nil || call.Outcome != Acknowledged {
		return
	}
	if !h.messages[call.Key] {
		h.breaks(RuleLost, "message %s was acknowledged at %s, and is not there", call.Key, call.End.Format(time.TimeOnly))
	}
}
