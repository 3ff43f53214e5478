// Command mutate checks the simulator: it breaks one rule of the cores after
// the other in a copy of the source and expects that the simulation notices. Some
// rules a cluster makes up for when they are broken; of these the scripts of their
// package must notice. Of the rules of messages between nodes, tests of nodes must, of
// what stores take, their suite.
//
// Data flow: mutations → copy of the module in a temporary directory, one rule
// broken → go test ./actors/sim, or the scripts, or the tests → caught, or survived.
//
// A mutation whose text is not in the source any more is a failure too, so the
// list cannot go stale.
//
// Imports nothing of the module.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	seeds := flag.Int("seeds", 4000, "clusters to simulate for each broken rule; the first that notices is enough")
	only := flag.String("only", "", "break only the rules whose name contains this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *seeds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, seeds int, only string) error {
	dir, err := os.MkdirTemp("", "limpet-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := copyModule(ctx, dir); err != nil {
		return err
	}
	sound := mutation{name: "nothing is broken"}
	if failed, err := sound.try(ctx, dir, simulation(min(seeds, 500))); err != nil || failed != "" {
		return fmt.Errorf("the simulation fails with no rule broken: %s %w", failed, err)
	}
	var survived []string
	for _, k := range kinds(seeds) {
		for _, m := range k.rules {
			if !strings.Contains(m.name, only) {
				continue
			}
			caught, err := m.try(ctx, dir, k.by(m))
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("%s: %w", m.name, err)
			case err != nil:
				survived = append(survived, m.name)
				caught = "NOT TRIED: " + err.Error()
			case caught == "":
				survived = append(survived, m.name)
				caught = "NOT NOTICED"
			}
			fmt.Printf("%-52s %s\n", m.name, caught)
		}
	}
	if len(survived) > 0 {
		return fmt.Errorf("%d broken rules were not noticed: %s", len(survived), strings.Join(survived, "; "))
	}
	return nil
}

// kind is a kind of rules, and what has to notice when one of them is broken.
type kind struct {
	rules []mutation
	by    func(mutation) check
}

func kinds(seeds int) []kind {
	always := func(c check) func(mutation) check { return func(mutation) check { return c } }
	return []kind{
		{mutations, always(simulation(seeds))}, {activationMutations, always(simulation(seeds))}, {heardMutations, always(simulation(seeds))},
		{remoteMutations, always(nodes)}, {gossipMutations, always(crowds)},
		{scripted, scripts}, {endMutations, always(simulation(seeds))}, {endScripted, scripts}, {continueMutations, always(simulation(seeds))}, {cutMutations, always(simulation(seeds))}, {continueScripted, scripts}, {quorumMutations, scripts}, {eventMutations, scripts}, {deliveryMutations, always(servers)},
		{storedMutations, always(stores)}, {streamMutations, scripts}, {writtenMutations, always(simulation(seeds))},
	}
}

// copyModule copies what the simulator and the scripts need of the module.
func copyModule(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-test", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}",
		"./actors/sim", "./actors/activation", "./actors/server", "./actors/journal", "./cluster/quorum", "./cluster")
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run it in the root of the module: %w", err)
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	// A package is listed once more for its tests.
	dirs := append(strings.Fields(string(list)), root)
	slices.Sort(dirs)
	for _, from := range slices.Compact(dirs) {
		to, err := filepath.Rel(root, from)
		if err != nil {
			return err
		}
		if err := copyFiles(from, filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	return nil
}

// copyFiles copies the files of a directory and its scripts, not what else is
// below it.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		err := error(nil)
		switch source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name()); {
		case e.Name() == "testdata":
			err = os.CopyFS(target, os.DirFS(source))
		case e.Type().IsRegular():
			err = copyFile(source, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// check is a test that may notice a broken rule.
type check struct {
	args    []string
	failure *regexp.Regexp
}

func simulation(seeds int) check {
	return check{[]string{"./actors/sim", "-run", "^TestSim$", "-seeds", fmt.Sprint(seeds), "-failures", "1"}, failedSeed}
}

// nodes are tests of nodes on a network in memory.
var nodes = check{[]string{"./cluster", "-run", "^(TestACutBetweenTwoNodes|TestNothingIsLostByACut|TestWhatIsFrozenHasNoDetour|TestTheServerOfADetourDies|TestWhatIsNotPassedOn)$"}, failedTest}

// crowds are tests of who hears whom, and of many workers on a network in memory.
var crowds = check{[]string{"./cluster/gossip", "./cluster/lease", "./cluster", "-run", "^Test(Worker|Silent|Suspect|Server|Others|ManyWorkers|Questions|Looks).*"}, failedTest}

// servers are tests of how events come to runs.
var servers = check{[]string{"./actors/server", "-run", "^Test(Event|Waits|OneEvent).*"}, failedTest}

// stores is the suite that every store runs; all decide by the same code what of a stream
// they take.
var stores = check{[]string{"./actors/journal", "-run", "^TestMemory$"}, failedStore}

func scripts(m mutation) check {
	return check{[]string{"./" + filepath.Dir(m.changes[0].file), "-run", "^TestScripts$"}, failedScript}
}

// try breaks the rule, tests, mends the rule, and returns how it was
// noticed.
func (m *mutation) try(ctx context.Context, dir string, by check) (caught string, err error) {
	var mend []func() error
	defer func() {
		// The last change first: two may be in one file.
		for _, undo := range slices.Backward(mend) {
			if e := undo(); err == nil {
				err = e
			}
		}
	}()
	for _, c := range m.changes {
		path := filepath.Join(dir, c.file)
		before, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(before), c.old); n != 1 {
			return "", fmt.Errorf("%s has the text of the mutation %d times, not once:\n%s", c.file, n, c.old)
		}
		mend = append(mend, func() error { return os.WriteFile(path, before, 0o600) })
		after := strings.Replace(string(before), c.old, c.new, 1)
		if err := os.WriteFile(path, []byte(after), 0o600); err != nil {
			return "", err
		}
	}
	start := time.Now()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-timeout=20m"}, by.args...)...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err == nil {
		return "", nil
	}
	found := by.failure.FindString(out.String())
	if found == "" {
		return "", fmt.Errorf("the copy does not build or run:\n%s", out.String())
	}
	if len(found) > 140 {
		found = found[:140] + "…"
	}
	return fmt.Sprintf("%s (%.0f s)", found, time.Since(start).Seconds()), nil
}

var (
	failedSeed   = regexp.MustCompile(`seed \d+, [\d.]+ s: .*`)
	failedTest   = regexp.MustCompile(`FAIL: Test\S+`)
	failedStore  = regexp.MustCompile(`FAIL: TestMemory/\S+`)
	failedScript = regexp.MustCompile(`FAIL: TestScripts/\S+`)
)
