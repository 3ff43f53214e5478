package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/sdk/worker"
)

// examples reads all files of deploy, by their paths.
func examples(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir("deploy", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	return files
}

// variables are all names that the environment may have.
func variables() (server, workers []string) {
	for _, s := range config.Table {
		server = append(server, s.Env())
	}
	for _, v := range worker.Environment() {
		workers = append(workers, v.Name)
	}
	return server, workers
}

// TestNoVariableHasTwoMeanings: those that a server and a worker both read mean
// the same to both. Only those of a worker say so in their name.
func TestNoVariableHasTwoMeanings(t *testing.T) {
	server, workers := variables()
	same := []string{"LIMPET_SECRET", "LIMPET_SECRET_FILE", "LIMPET_MEMBER_CA_FILE", "LIMPET_MEMBER_CERT_FILE", "LIMPET_MEMBER_KEY_FILE", "LIMPET_MEMBER_REVOKED_FILE", "LIMPET_PRESET"}
	var both []string
	for _, variable := range workers {
		if slices.Contains(server, variable) {
			both = append(both, variable)
		} else if !strings.HasPrefix(variable, "LIMPET_WORKER_") {
			t.Errorf("%s is a worker's: its name does not say so", variable)
		}
	}
	if !slices.Equal(both, same) {
		t.Errorf("server and worker read %v, and only %v mean the same to both", both, same)
	}
	for _, variable := range server {
		if strings.HasPrefix(variable, "LIMPET_WORKER_") {
			t.Errorf("%s is a server's, and its name a worker's", variable)
		}
	}
}

// TestNamesInExamples: what the examples, the README and its companion call a
// variable, a flag or a command is one.
func TestNamesInExamples(t *testing.T) {
	server, workers := variables()
	known := append(slices.Clone(server), workers...)
	flags := map[string]bool{"help": true}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
		cmd.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	c, _, _ := testCLI(nil)
	root := c.rootCommand()
	visit(root)
	files := examples(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files["README.md"] = readme
	named := 0
	for path, text := range files {
		for _, name := range regexp.MustCompile(`LIMPET_[A-Z0-9_]*[A-Z0-9]`).FindAllString(string(text), -1) {
			if named++; !slices.Contains(known, name) {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|[\\s`/])limpet ((?:[a-z]+ ?)*)(--.*)?").FindAllStringSubmatch(string(text), -1) {
			for _, f := range regexp.MustCompile(`--([a-z][a-z-]*)`).FindAllStringSubmatch(m[2], -1) {
				if !flags[f[1]] {
					t.Errorf("%s: there is no flag --%s: %s", path, f[1], m[0])
				}
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d variables are named at all", named)
	}
}

// TestExampleOfAServersFile is what the command itself says of it.
func TestExampleOfAServersFile(t *testing.T) {
	r := execute(t.Context(), map[string]string{"LIMPET_SECRET": longSecret}, "config", "--config", "deploy/systemd/server.yaml")
	if r.code != 0 || !strings.Contains(r.out, "deploy/systemd/server.yaml:") || !strings.Contains(r.out, "10.0.0.11:7946, 10.0.0.12:7946, 10.0.0.13:7946") {
		t.Errorf("%+v", r)
	}
}

// TestExampleOfAWorkersEnvironment is read as a worker does.
func TestExampleOfAWorkersEnvironment(t *testing.T) {
	text, err := os.ReadFile("deploy/systemd/worker.env")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			t.Setenv(name, value)
			n++
		}
	}
	c, err := worker.ConfigFromEnv()
	if err != nil || len(c.Join) != 3 || c.Slots != 8 || c.Grace != 30*time.Second || n < 6 {
		t.Errorf("%d lines: %+v, %v", n, c, err)
	}
}

// TestUnits: systemd itself reads the example units, where there is one; the
// times in them fit those of the programs anywhere.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	units := map[string]string{}
	for _, name := range []string{"limpet-server.service", "limpet-worker@.service"} {
		text, err := os.ReadFile(filepath.Join("deploy", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		units[name] = string(text)
		// Only what they start is another program, which there is.
		there := regexp.MustCompile(`(?m)^(ExecStart=)\S+`).ReplaceAllString(units[name], "${1}"+self)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
		checkUnit(t, name, units[name])
	}
	if seconds := unitSeconds(t, units["limpet-server.service"], "TimeoutStopSec"); seconds <= stopTimeout {
		t.Errorf("a server has %s to stop, and needs up to %s", seconds, stopTimeout)
	}
	if seconds := unitSeconds(t, units["limpet-server.service"], "TimeoutStartSec"); seconds <= defaultOf(t, "store-wait") {
		t.Errorf("a server has %s to start, and waits %s for its store", seconds, defaultOf(t, "store-wait"))
	}
	// 30 s of LIMPET_WORKER_GRACE, and 10 s to leave.
	if seconds := unitSeconds(t, units["limpet-worker@.service"], "TimeoutStopSec"); seconds <= 40*time.Second {
		t.Errorf("a worker has %s to stop", seconds)
	}
	if program, err := exec.LookPath("systemd-analyze"); err == nil {
		out, err := exec.CommandContext(t.Context(), program, "verify", "--recursive-errors=no",
			filepath.Join(dir, "limpet-server.service"), filepath.Join(dir, "limpet-worker@.service")).CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
}

// checkUnit checks what a unit is made of.
func checkUnit(t *testing.T, name, text string) {
	t.Helper()
	section := ""
	for i, line := range strings.Split(text, "\n") {
		key, value, setting := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line
		case !setting || section == "" || !regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(key):
			t.Errorf("%s:%d: %q", name, i+1, line)
		case key == "Environment":
			if !strings.HasPrefix(value, "LIMPET_") {
				t.Errorf("%s:%d: %q", name, i+1, line)
			}
		}
	}
	for _, want := range []string{"[Unit]", "[Service]", "[Install]", "Restart=always", "KillSignal=SIGTERM", "LoadCredential=secret:/etc/limpet/secret",
		"Environment=LIMPET_SECRET_FILE=/run/credentials/%n/secret", "DynamicUser=yes", "ProtectSystem=strict"} {
		if !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("%s lacks %s", name, want)
		}
	}
}

func unitSeconds(t *testing.T, unit, key string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + key + `=(\d+)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatalf("no %s in seconds", key)
	}
	d, err := time.ParseDuration(m[1] + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// defaultOf is the default of a setting that is a time.
func defaultOf(t *testing.T, name string) time.Duration {
	t.Helper()
	for _, s := range config.Table {
		if s.Name == name {
			d, err := time.ParseDuration(s.Default)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatalf("no setting %s", name)
	return 0
}

// TestDeployReadmeTables: the tables in the companion are those of the code.
// With UPDATE_TABLES=1 it writes them.
func TestDeployReadmeTables(t *testing.T) {
	const path = "deploy/README.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := withTable(t, withTable(t, string(text), "settings", settingsTable()), "workers", workersTable())
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_TABLES") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("a table in %s is not that of the code; UPDATE_TABLES=1 go test ./cmd/limpet -run %s writes it", path, t.Name())
}

// withTable puts a table between its marks.
func withTable(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no marks of the table %s", name)
	}
	return before + begin + table + end + after
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key | default | |\n|---|---|---|---|---|\n")
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	for _, s := range config.Table {
		b.WriteString("| " + strings.Join([]string{code("--" + s.Name), code(s.Env()), code(s.Key()), code(s.Default), s.Help}, " | ") + " |\n")
	}
	return b.String()
}

func workersTable() string {
	var b strings.Builder
	b.WriteString("| environment | |\n|---|---|\n")
	for _, v := range worker.Environment() {
		b.WriteString("| `" + v.Name + "` | " + v.Help + " |\n")
	}
	return b.String()
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// documents of a YAML file.
func documents(t *testing.T, path string) []*yaml.Node {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if n.Kind == yaml.DocumentNode && n.Content[0].Kind == yaml.MappingNode {
			all = append(all, n.Content[0])
		}
	}
}
