package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/cmd/internal/program"
)

// Rules about processes, beside those of the verdict.
const (
	ruleCrashed   verdict.Rule = "process_crashed"
	ruleExited    verdict.Rule = "process_exited"
	ruleUnstopped verdict.Rule = "process_not_stopped"
	ruleUnsettled verdict.Rule = "not_settled"
)

const (
	// storiesMax is how many histories of runs that broke a rule are printed.
	storiesMax = 3
	// storyLines is how many entries of each.
	storyLines = 40
)

// judgement is all that a run ends with.
type judgement struct {
	evidence verdict.Evidence
	faults   []verdict.Fault
	exits    []ground.Exit
	report   verdict.Report
	// unsettled says what had not ended in time, unstopped what did not stop in
	// order.
	unsettled, unstopped error
}

// breaks adds a broken rule to the report.
func (j *judgement) breaks(rule verdict.Rule, format string, args ...any) {
	j.report.Violations[rule]++
	j.report.All = append(j.report.All, verdict.Violation{Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// addProcesses adds to the report what is wrong with the processes themselves.
func (j *judgement) addProcesses(dir string) error {
	for _, r := range []verdict.Rule{ruleCrashed, ruleExited, ruleUnstopped, ruleUnsettled} {
		j.report.Violations[r] += 0
	}
	for _, e := range j.exits {
		// One that ends before it is up has said that it cannot start yet, and
		// is started again.
		switch {
		case e.Told:
			j.breaks(ruleUnstopped, "%s (process %d) ended at %s with %s when it was told to; its log is %s", e.Node, e.PID, e.At.Format(time.TimeOnly), e.How, e.Log)
		case e.Up:
			j.breaks(ruleExited, "%s (process %d) ended by itself at %s: %s; its log is %s", e.Node, e.PID, e.At.Format(time.TimeOnly), e.How, e.Log)
		}
	}
	if j.unstopped != nil {
		j.breaks(ruleUnstopped, "%v", j.unstopped)
	}
	if j.unsettled != nil {
		j.breaks(ruleUnsettled, "%v", j.unsettled)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	for _, log := range logs {
		lines, err := crashes(log)
		if err != nil {
			return err
		}
		for _, l := range lines {
			j.breaks(ruleCrashed, "%s: %s", log, l)
		}
	}
	return nil
}

// lastWords are how a Go process begins to tell of its crash, or the race
// detector of a race.
var lastWords = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "unexpected fault address"}

// crashes returns the lines of a log that tell of a crash.
func crashes(log string) ([]string, error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var found []string
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if slices.ContainsFunc(lastWords, func(w string) bool { return strings.HasPrefix(line, w) }) {
			found = append(found, strings.TrimSpace(line))
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
}

// report prints the verdict: the table, what is needed to look into what was
// broken, and the line for programs.
func (d *driver) report(j *judgement) error {
	if err := j.save(d.Dir); err != nil {
		return err
	}
	if !d.json {
		if err := j.report.Print(os.Stdout); err != nil {
			return err
		}
	}
	if !j.report.OK() {
		for _, s := range j.stories() {
			fmt.Fprintln(os.Stderr, s)
		}
		fmt.Fprintf(os.Stderr, "chaos: promises were broken. Again: %s\nchaos: logs, ledgers and histories are in %s\n", d.again(), d.Dir)
	}
	line, err := json.Marshal(j.report)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	if !j.report.OK() {
		return program.ErrBroken
	}
	return nil
}

// again is the command that does the same faults again.
func (d *driver) again() string {
	s := fmt.Sprintf("make chaos SEED=%d DURATION=%v", d.seed, d.duration)
	if d.faults != "" {
		s += " FAULTS=" + d.faults
	}
	if d.servers != 3 || d.workers != 5 || d.slots != 20 || d.rate != 0 || d.preset != "local" {
		s += fmt.Sprintf(" CHAOSFLAGS='--servers %d --workers %d --slots %d --rate %v --preset %s'", d.servers, d.workers, d.slots, d.rate, d.preset)
	}
	return s
}

// save keeps what the verdict was found from beside the logs.
func (j *judgement) save(dir string) error {
	for name, what := range map[string]any{"faults.json": j.faults, "exits.json": j.exits, "calls.json": j.evidence.Calls, "violations.json": j.report.All, "evidence.json": j.evidence} {
		data, err := json.MarshalIndent(what, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	var all strings.Builder
	for _, r := range j.evidence.Runs {
		all.WriteString(story(r))
	}
	return os.WriteFile(filepath.Join(dir, "histories.txt"), []byte(all.String()), 0o600)
}

// stories are the histories of some runs that broke a rule.
func (j *judgement) stories() []string {
	var stories []string
	told := map[string]bool{}
	for _, v := range j.report.All {
		i := slices.IndexFunc(j.evidence.Runs, func(r verdict.Run) bool { return r.ID == v.Run })
		if i < 0 || told[v.Run] || len(stories) == storiesMax {
			continue
		}
		told[v.Run] = true
		lines := strings.SplitAfter(story(j.evidence.Runs[i]), "\n")
		if len(lines) > storyLines {
			lines = append(append(lines[:1:1], "  …\n"), lines[len(lines)-storyLines:]...)
		}
		stories = append(stories, strings.Join(lines, ""))
	}
	return stories
}

// story is the history of a run, a line an event.
func story(r verdict.Run) string {
	var s strings.Builder
	fmt.Fprintf(&s, "run %s: %v, worker %q, epoch %d %s\n", r.ID, r.Status, r.Worker, r.Epoch, r.Error)
	for _, e := range r.Entries {
		for _, event := range e.Events {
			fmt.Fprintf(&s, "  %4d %s %s\n", e.Number, e.At.Format("15:04:05.000"), protojson.MarshalOptions{}.Format(event))
		}
	}
	return s.String()
}
