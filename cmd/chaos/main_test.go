package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/cmd/internal/program"
	"github.com/limpetrun/limpet/messages"
)

func TestWrongUseIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--faults", "fire"}, {"--servers", "0"}, {"--duration", "0s"}, {"--rate", "-1"}, {"--preset", "moon"}, {"more"}, {"--seed", "x"},
	} {
		if code := program.Execute(t.Context(), rootCommand(), args); code != program.ExitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	if code := program.Execute(t.Context(), rootCommand(), []string{"--loopback", "--faults", "kill,partition"}); code != program.ExitFailed {
		t.Errorf("partitions without namespaces: exit code %d", code)
	}
}

func TestThePlanIsThatOfTheSchedule(t *testing.T) {
	o := options{seed: 7, duration: time.Minute, servers: 3, workers: 5}
	var out bytes.Buffer
	if err := o.printPlan(&out, schedule.Groups); err != nil {
		t.Fatal(err)
	}
	plan := o.schedule(schedule.Groups, false)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(plan) || len(plan) < 4 || !strings.HasSuffix(lines[2], plan[2].String()) {
		t.Errorf("%s\n%v", &out, plan)
	}
}

func TestAgainNamesWhatIsNotUsual(t *testing.T) {
	usual := options{seed: 7, duration: 2 * time.Minute, servers: 3, workers: 5, slots: 20, preset: "local"}
	if got := (&driver{options: usual}).again(); got != "make chaos SEED=7 DURATION=2m0s" {
		t.Error(got)
	}
	other := usual
	other.faults, other.servers = "kill,pg", 4
	if got := (&driver{options: other}).again(); got != "make chaos SEED=7 DURATION=2m0s FAULTS=kill,pg CHAOSFLAGS='--servers 4 --workers 5 --slots 20 --rate 0 --preset local'" {
		t.Error(got)
	}
}

// What is wrong with processes is part of the verdict.
func TestProcessesAreJudged(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("s1.log", "level=INFO msg=\"a step said panic: no\"\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n")
	write("w1.log", "==================\nWARNING: DATA RACE\nRead at 0x1 by goroutine 7:\n")
	write("w2.log", "level=INFO msg=fine")
	j := &judgement{
		report: verdict.Check(verdict.Evidence{}, nil),
		exits:  []ground.Exit{{Node: "s2", How: "exit status 4"}, {Node: "w3", How: "exit status 3", Up: true}, {Node: "w4", Told: true}},
	}
	if err := j.addProcesses(dir); err != nil {
		t.Fatal(err)
	}
	want := map[verdict.Rule]int{ruleCrashed: 2, ruleExited: 1, ruleUnstopped: 1, ruleUnsettled: 0}
	for rule, n := range want {
		if got, ok := j.report.Violations[rule]; !ok || got != n {
			t.Errorf("%s: %d, want %d: %v", rule, got, n, j.report.All)
		}
	}
	if j.report.OK() {
		t.Error("all holds")
	}
	j.unsettled, j.unstopped = errors.New("runs go on"), errors.New("s1 hangs")
	if err := j.addProcesses(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if j.report.Violations[ruleUnstopped] != 3 || j.report.Violations[ruleUnsettled] != 1 {
		t.Error(j.report.Violations)
	}
}

func TestStoriesAreOfRunsThatBrokeARule(t *testing.T) {
	var entries []verdict.Entry
	for i := range uint64(100) {
		entries = append(entries, verdict.Entry{Number: i + 1, Events: []*messages.Event{
			{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{}}},
		}})
	}
	j := &judgement{evidence: verdict.Evidence{Runs: []verdict.Run{{ID: "a"}, {ID: "b", Entries: entries}}}}
	j.report.All = []verdict.Violation{{Run: "b"}, {Run: ""}, {Run: "b"}, {Run: "gone"}}
	stories := j.stories()
	if len(stories) != 1 {
		t.Fatal(stories)
	}
	lines := strings.Split(strings.TrimSpace(stories[0]), "\n")
	if !strings.HasPrefix(lines[0], "run b: ") || len(lines) > storyLines+2 || !strings.Contains(lines[len(lines)-1], " 100 ") {
		t.Errorf("%q", lines)
	}
	dir := t.TempDir()
	if err := j.save(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "histories.txt"))
	if err != nil || strings.Count(string(data), "runEnded") != 100 {
		t.Error(len(data), err)
	}
}

// A worker process is told who it is on its command line, and no secret there.
func TestTheCommandOfAWorkerIsUnderstood(t *testing.T) {
	site := ground.WorkerSite{ID: "w1", Host: "10.0.0.1", Bind: "10.0.0.1:1", Gossip: "10.0.0.1:2", Join: []string{"10.0.0.2:2", "10.0.0.3:2"}}
	cmd := workerProcess("/chaos", "/ledgers", "lan", 7)(site)
	flags := workerCommand().Flags()
	if err := flags.Parse(cmd.Args[2:]); err != nil {
		t.Fatal(err)
	}
	join, err := flags.GetStringSlice("join")
	if err != nil || !slices.Equal(join, site.Join) || flags.Lookup("slots").Value.String() != "7" || flags.Lookup("ledgers").Value.String() != "/ledgers" {
		t.Errorf("%v: %v, %v", cmd.Args, join, err)
	}
}
