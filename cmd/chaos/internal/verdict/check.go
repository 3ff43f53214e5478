package verdict

import (
	"fmt"
	"slices"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
)

// Check judges the evidence, given what was done to the cluster.
func Check(e Evidence, faults []Fault) Report {
	c := &checker{
		evidence: e, faults: slices.Clone(faults), runs: map[string]*history{}, fathered: map[string]bool{}, pushed: map[string]bool{},
		report: Report{
			Seed: e.Seed, Runs: len(e.Runs), Calls: len(e.Calls), Executions: len(e.Executions),
			Faults: map[Kind]int{}, Violations: map[Rule]int{}, Recovery: map[Kind]Recovery{},
		},
	}
	for _, r := range Rules {
		c.report.Violations[r] = 0
	}
	for _, f := range faults {
		c.report.Faults[f.Kind]++
	}
	for _, call := range e.Calls {
		if call.Act == ActPublish {
			c.pushed[call.Key] = true
		}
	}
	c.readRuns()
	c.readLedger()
	for _, h := range c.order {
		h.checkExecutions()
		h.checkBindings()
		h.checkLosses()
		h.checkEnds()
		h.checkState()
		h.checkActing()
		h.checkDrains()
		h.checkHandoffs()
		h.checkValues()
		h.checkDeeds()
		h.checkProgress()
		h.checkStream()
		h.checkEndSteps()
	}
	c.checkLocals()
	c.checkSameID()
	for _, h := range c.order {
		h.checkChildren()
	}
	c.checkCalls()
	c.recovery()
	return c.report
}

// checker is one judgement under way.
type checker struct {
	evidence Evidence
	faults   []Fault
	// runs by id, and order as in the evidence.
	runs  map[string]*history
	order []*history
	// fathered are the runs that another one's history names as its children.
	fathered map[string]bool
	// pushed are the ids of the events that runs may wait for.
	pushed map[string]bool
	// replays that were asked for, by run.
	replays map[string][]*Call
	report  Report
}

// breaks notes a broken rule.
func (c *checker) breaks(rule Rule, run, format string, args ...any) {
	c.report.Violations[rule]++
	c.report.All = append(c.report.All, Violation{Rule: rule, Run: run, Text: fmt.Sprintf(format, args...)})
}

// readRuns reads the histories.
func (c *checker) readRuns() {
	for i := range c.evidence.Runs {
		r := &c.evidence.Runs[i]
		switch {
		case r.Unknown:
			// Whether it should be known is for the calls and the parents to say.
			if r.Listed {
				c.breaks(RuleLost, r.ID, "it is listed, and cannot be read: %s", r.Error)
			}
			continue
		case r.Error != "":
			c.breaks(RuleHistory, r.ID, "it cannot be read: %s", r.Error)
			continue
		case !r.Listed:
			c.breaks(RuleLost, r.ID, "it is not in the list of runs")
		}
		if c.runs[r.ID] != nil {
			c.breaks(RuleHistory, r.ID, "it is there twice")
			continue
		}
		if h := c.readHistory(r); h != nil {
			c.runs[r.ID] = h
			c.order = append(c.order, h)
		} else {
			c.breaks(RuleHistory, r.ID, "its history does not begin with a start")
		}
	}
}

// readLedger gives each run its executions, in the order of their beginning.
func (c *checker) readLedger() {
	unknown := map[string]bool{}
	for i := range c.evidence.Executions {
		e := &c.evidence.Executions[i]
		if h := c.runs[e.Run]; h != nil {
			h.executions = append(h.executions, e)
		} else if !unknown[e.Run] {
			unknown[e.Run] = true
			c.breaks(RuleLost, e.Run, "%s#%d was executed on %s, and the run is not there", e.Step, e.Attempt, e.Worker)
		}
	}
	for i := range c.evidence.Values {
		v := &c.evidence.Values[i]
		if v.Run == "" {
			continue
		}
		if h := c.runs[v.Run]; h != nil {
			h.values = append(h.values, v)
		} else {
			c.breaks(RuleLost, v.Run, "%s was bound for it on %s, and the run is not there", v.ID, v.Worker)
		}
	}
	for _, h := range c.order {
		slices.SortStableFunc(h.executions, func(a, b *ledger.Execution) int { return a.Begin.Compare(b.Begin) })
	}
}
