package verdict

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// examplesMax is how many violations of a rule a report tells in words.
const examplesMax = 5

// Violation is one rule that was broken, once.
type Violation struct {
	Rule Rule
	// Run that it is about; empty if it is about none.
	Run  string
	Text string
}

// Report is the verdict.
type Report struct {
	Seed uint64
	// Runs that the API knows, Calls that were made, Executions in the ledger.
	Runs, Calls, Executions int
	// Faults by kind.
	Faults map[Kind]int
	// Violations by rule; each rule is in it. All holds them in order.
	Violations map[Rule]int
	All        []Violation
	// Recovery by kind of fault.
	Recovery map[Kind]Recovery
	// Late is how long after the end of its run a wait or watch was told of it at
	// most, in seconds.
	Late float64
	// Seen counts what the runs went through: without it, a rule that holds
	// says nothing.
	Seen Seen
}

// Seen is what the evidence shows beside violations.
type Seen struct {
	Lost, Rebound, HardReturned, Refused, Retried, TimedOut, Canceled, Replayed, StickyChildren, PlainChildren int
	Acknowledged, Ambiguous, RefusedCalls, Dormant                                                             int
	// Rebuilds of steps, and steps that said that their state is lost.
	Rebuilds, StateLost int
	// Handoffs of state, those that came to nothing, and the values that were
	// built from one.
	Handoffs, HandoffsFailed, Received int
	// Drained counts the bindings that left a worker because it drained; Stayed
	// the executions of SOFT runs on a worker that drains.
	Drained, Stayed int
	// Fenced counts acts after a freeze that a system outside refuses by their
	// token.
	Fenced int
	// Values of local state in the ledger, and steps that failed because one
	// could not be built.
	Values, BindFailed int
	// Made are calls that were made, Recalled those that an execution got without
	// making them; Messages that were sent, and Taken those that were received.
	Made, Recalled, Messages, Taken int
	// Suspended attempts, and Events that came to calls.
	Suspended, Events int
	// EndSteps that came to their end.
	EndSteps int
	// Continued counts change-overs, Given attempts that were given progress, Answered
	// queries with an answer and Unanswered those that say why there is none.
	Continued, Given, Answered, Unanswered int
	// Pieces of streams, and Followed those that were read to their end meanwhile.
	Pieces, Followed int
	// OtherDoors counts the failures of steps that did not return an error.
	OtherDoors int
}

// Recovery is how long it took until what a fault had stopped went on.
type Recovery struct {
	// Samples are seconds, one a fault that stopped something.
	Samples []float64
}

// Median of the samples; ok is false if there are none.
func (r Recovery) Median() (seconds float64, ok bool) {
	if len(r.Samples) == 0 {
		return 0, false
	}
	s := slices.Sorted(slices.Values(r.Samples))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2, true
}

// Max of the samples; ok is false if there are none.
func (r Recovery) Max() (seconds float64, ok bool) {
	if len(r.Samples) == 0 {
		return 0, false
	}
	return slices.Max(r.Samples), true
}

// OK says that no rule was broken.
func (r Report) OK() bool { return len(r.All) == 0 }

// reported are the kinds whose figures are in the line for machines, whether
// there are samples or not.
var reported = []Kind{WorkerKill, WorkerStop, ServerKill, ServerStop, ServerLeave, Partition, Cut, PostgresRestart, PostgresKill, PostgresFreeze, HardReturn}

// MarshalJSON is the line for machines. A recovery without a sample is null.
func (r Report) MarshalJSON() ([]byte, error) {
	type figures map[Kind]*float64
	median, most, count := figures{}, figures{}, map[Kind]int{}
	for _, k := range reported {
		median[k], most[k] = nil, nil
		count[k] = len(r.Recovery[k].Samples)
		if m, ok := r.Recovery[k].Median(); ok {
			median[k] = rounded(m)
		}
		if m, ok := r.Recovery[k].Max(); ok {
			most[k] = rounded(m)
		}
	}
	return json.Marshal(struct {
		Seed       uint64       `json:"seed"`
		Runs       int          `json:"runs"`
		Calls      int          `json:"calls"`
		Executions int          `json:"executions"`
		Faults     map[Kind]int `json:"faults"`
		Violations map[Rule]int `json:"violations"`
		Median     figures      `json:"recovery_s"`
		Max        figures      `json:"recovery_max_s"`
		Count      map[Kind]int `json:"recovery_n"`
		Late       *float64     `json:"wait_late_max_s"`
		Rebuilds   int          `json:"rebuilds"`
		StateLost  int          `json:"state_lost"`
		Handoffs   int          `json:"handoffs"`
		NoHandoffs int          `json:"handoffs_failed"`
		Received   int          `json:"handoffs_received"`
		Drains     int          `json:"drains"`
		Drained    int          `json:"drain_moves"`
		Stayed     int          `json:"drain_stayed"`
		Fenced     int          `json:"fenced"`
		Values     int          `json:"local_values"`
		Made       int          `json:"calls_made"`
		Recalled   int          `json:"calls_recalled"`
		Messages   int          `json:"messages"`
		Taken      int          `json:"messages_received"`
		Suspended  int          `json:"suspended"`
		Events     int          `json:"events_received"`
		EndSteps   int          `json:"end_steps"`
	}{r.Seed, r.Runs, r.Calls, r.Executions, r.Faults, r.Violations, median, most, count, rounded(r.Late),
		r.Seen.Rebuilds, r.Seen.StateLost, r.Seen.Handoffs, r.Seen.HandoffsFailed, r.Seen.Received,
		r.Faults[WorkerDrain], r.Seen.Drained, r.Seen.Stayed, r.Seen.Fenced, r.Seen.Values,
		r.Seen.Made, r.Seen.Recalled, r.Seen.Messages, r.Seen.Taken, r.Seen.Suspended, r.Seen.Events, r.Seen.EndSteps})
}

func rounded(seconds float64) *float64 {
	s := time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).Seconds()
	return &s
}

// Print writes the table for eyes, with examples of what was broken.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "seed %d: %d runs, %d calls (%d ambiguous, %d refused), %d executions\n", r.Seed, r.Runs, r.Calls, r.Seen.Ambiguous, r.Seen.RefusedCalls, r.Executions)
	fmt.Fprintf(t, "seen: %d attempts lost, %d rebound, %d HARD returns, %d late results refused, %d retries, %d timeouts, %d canceled, %d replays, %d sticky and %d plain children, %d dormant\n",
		r.Seen.Lost, r.Seen.Rebound, r.Seen.HardReturned, r.Seen.Refused, r.Seen.Retried, r.Seen.TimedOut, r.Seen.Canceled, r.Seen.Replayed, r.Seen.StickyChildren, r.Seen.PlainChildren, r.Seen.Dormant)
	fmt.Fprintf(t, "local state: %d values, %d rebuilds, %d losses said, %d handed off, %d not, %d received; %d bindings left a drain, %d executions stayed; %d acts fenced\n",
		r.Seen.Values, r.Seen.Rebuilds, r.Seen.StateLost, r.Seen.Handoffs, r.Seen.HandoffsFailed, r.Seen.Received, r.Seen.Drained, r.Seen.Stayed, r.Seen.Fenced)
	fmt.Fprintf(t, "calls: %d made, %d got their result without being made; messages: %d sent, %d received; %d events received; %d attempts suspended; %d end steps\n\n",
		r.Seen.Made, r.Seen.Recalled, r.Seen.Messages, r.Seen.Taken, r.Seen.Events, r.Seen.Suspended, r.Seen.EndSteps)
	fmt.Fprintln(t, "rule\tbroken\twhat it says")
	for _, rule := range Rules {
		fmt.Fprintf(t, "%s\t%d\t%s\n", rule, r.Violations[rule], rule.Text())
	}
	fmt.Fprintln(t, "\nfault\tdone\tsamples\trecovery p50 s\tmax s")
	kinds := slices.Clone(reported)
	for k := range r.Faults {
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds[len(reported):])
	for _, k := range kinds {
		m, _ := r.Recovery[k].Median()
		most, ok := r.Recovery[k].Max()
		if !ok {
			fmt.Fprintf(t, "%s\t%d\t0\t-\t-\n", k, r.Faults[k])
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%.3f\t%.3f\n", k, r.Faults[k], len(r.Recovery[k].Samples), m, most)
	}
	fmt.Fprintf(t, "\nwaits and watches were told of the end %.3f s after it at most\n", r.Late)
	told := map[Rule]int{}
	for _, v := range r.All {
		if told[v.Rule]++; told[v.Rule] <= examplesMax {
			fmt.Fprintf(t, "\n%s: run %s: %s", v.Rule, v.Run, v.Text)
		}
	}
	if len(told) > 0 {
		fmt.Fprintln(t)
	}
	return t.Flush()
}
