// Command tidy checks the house rules of this repository: who may import whom,
// what pure packages may not touch, how long functions and files may be, which
// names and words are not used, and what lies at the top level. It is a test
// (`go test ./cmd/tidy`) and a command (`go run ./cmd/tidy`).
//
// Data flow: file tree → load (parsed once) → rules, each a function from the
// tree to findings → lines of "path:line: rule: what".
//
// Invariants: the rules read the tree and change nothing; generated files are
// held to the import policy only; a rule knows no package but those in policy.go.
//
// Why not golangci-lint: depguard knows no floors and no rule that each package
// is listed, funlen has one limit for tests and code, and no linter of its reads
// package docs and names as ours does. It takes 140 s of CPU time to build and
// 30 s for its first run, and pins 211 more modules. Complexity is checked by
// gocyclo alone: see `make lint`.
//
// Imports nothing of ours.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A finding is one breach of a rule.
type finding struct {
	path string
	line int
	rule string
	text string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.rule, f.text)
}

// rules in the order in which they are reported.
var rules = []func(*tree) []finding{
	checkTopLevel,
	checkPackageDocs,
	checkImports,
	checkPurity,
	checkWrapped,
	checkSizes,
	checkNames,
	checkWords,
	checkModulePath,
	checkPapers,
}

// check applies all rules.
func check(t *tree) []finding {
	var found []finding
	for _, rule := range rules {
		found = append(found, rule(t)...)
	}
	slices.SortFunc(found, func(a, b finding) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return a.line - b.line
	})
	return found
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: tidy\n\nChecks the house rules of the repository that it is run in.")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	root, err := repositoryRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tidy:", err)
		os.Exit(1)
	}
	t, err := load(os.DirFS(root))
	if err != nil {
		fmt.Fprintln(os.Stderr, "tidy:", err)
		os.Exit(1)
	}
	found := check(t)
	for _, f := range found {
		fmt.Println(f)
	}
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "tidy: %d breaches of the house rules\n", len(found))
		os.Exit(1)
	}
	fmt.Printf("tidy: %d packages keep the house rules\n", len(t.packages))
}

// repositoryRoot is the nearest directory above the current one with a go.mod.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod in this directory or above it")
		}
		dir = parent
	}
}
