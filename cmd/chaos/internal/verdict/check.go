package verdict

import (
	"fmt"
	"slices"
)

// Check judges the evidence, given what was done to the cluster.
func Check(e Evidence, faults []Fault) Report {
	c := &checker{evidence: e, faults: slices.Clone(faults), report: Report{
		Seed: e.Seed, Calls: len(e.Calls), Executions: len(e.Executions),
		Faults: map[Kind]int{}, Violations: map[Rule]int{}, Recovery: map[Kind]Recovery{},
	}}
	for _, r := range Rules {
		c.report.Violations[r] = 0
	}
	for _, f := range faults {
		c.report.Faults[f.Kind]++
	}
	return c.report
}

// checker is one judgement under way.
type checker struct {
	evidence Evidence
	faults   []Fault
	report   Report
}

// breaks notes a broken rule.
func (c *checker) breaks(rule Rule, run, format string, args ...any) {
	c.report.Violations[rule]++
	c.report.All = append(c.report.All, Violation{Rule: rule, Run: run, Text: fmt.Sprintf(format, args...)})
}
