package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
)

// TestReadme does what the README tells a newcomer to do: it builds its
// program, runs it beside a server and types its commands. Only the ports are
// others.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	api, gossip := freeAddress(t), freeAddress(t)
	limpet := filepath.Join(dir, "limpet")
	build(ctx, t, limpet, ".")
	words := buildProgram(ctx, t, dir, strings.ReplaceAll(block(t, section(t, readme, "A worker"), "go", 0), "127.0.0.1:7946", gossip))

	background(t, exec.Command(limpet, "server", "--listen", api, "--gossip", gossip, "--store", "sqlite:"+filepath.Join(dir, "journal.db")), "limpet server is up")
	background(t, exec.Command(words, "worker-1"), "worker is ready")
	background(t, exec.Command(words, "worker-2"), "worker is ready")

	run, curled := "", ""
	commands := strings.NewReplacer("\\\n", "", "127.0.0.1:7080", api).Replace(block(t, section(t, readme, "A worker"), "sh", 1))
	for _, line := range strings.Split(commands, "\n") {
		line = strings.TrimSpace(strings.SplitN(line, "  #", 2)[0])
		if line == "" {
			continue
		}
		line = strings.Replace(strings.ReplaceAll(line, "RUN", run), ".bin/limpet", limpet, 1)
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.WaitDelay = time.Second // what the shell has started may outlive it
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "LIMPET_ADDRESS="+api)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		t.Logf("%s\n%s", line, out)
		if strings.HasPrefix(line, "curl") {
			curled += string(out)
		}
		if id := regexp.MustCompile(`\b[0-9a-z]{26}\b`).Find(out); id != nil && strings.Contains(line, "run start") {
			run = string(id)
		}
	}
	if run == "" {
		t.Fatal("the README starts no run")
	}
	for _, part := range []string{`"runId":`, `"input":{"dir":"sdk","word":"func"}`, `"output":`} {
		if !strings.Contains(strings.ReplaceAll(curled, " ", ""), part) {
			t.Errorf("curl prints no %s: %s", part, curled)
		}
	}
}

// TestReadmeExamples types the commands that run the examples of local state and of
// calls: each runs one.
func TestReadmeExamples(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := 0
	for line := range strings.Lines(block(t, section(t, readme, "Local state"), "sh", 0) + block(t, section(t, readme, talking), "sh", 0)) {
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "--- PASS: Example_") != 1 {
			t.Errorf("%s%v\n%s", line, err, out)
		}
		run++
	}
	if run < 6 {
		t.Errorf("the README has %d examples of local state and of calls", run)
	}
}

// talking is the heading of the section on calls.
const talking = "A step that remembers and waits"

// TestReadmeAgent: the agent of the README is that of the example.
func TestReadmeAgent(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../sdk/example_agent_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if code := block(t, section(t, readme, talking), "go", 0); !strings.Contains(string(example), code) {
		t.Errorf("sdk/example_agent_test.go does not have this:\n%s", code)
	}
}

// TestReadmeCluster starts the servers of the README on a database of its own.
// Only the ports are others.
func TestReadmeCluster(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	store := newDatabase(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{}
	text := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(block(t, section(t, readme, "Several servers"), "sh", 0), func(address string) string {
		if ports[address] == "" {
			ports[address] = freeAddress(t)
		}
		return ports[address]
	})
	servers, out := 0, []byte{}
	for line := range strings.Lines(text) {
		args := strings.Fields(strings.SplitN(line, "  #", 2)[0])
		if args[0] == "export" {
			if !strings.HasPrefix(args[1], "LIMPET_STORE=postgres://") {
				t.Errorf("the README exports %s", args[1])
			}
			continue
		}
		cmd := exec.CommandContext(ctx, self, append([]string{failureArg, "limpet"}, args[1:]...)...)
		cmd.Env = append(os.Environ(), "LIMPET_STORE="+store)
		if args[1] == "server" {
			if servers++; servers == 1 { // it has the defaults
				cmd.Args = append(cmd.Args, "--listen", ports["127.0.0.1:7080"], "--gossip", ports["127.0.0.1:7946"])
			}
			background(t, cmd, "limpet server is up")
		} else if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	for _, id := range []string{"s1", "s2", "s3"} {
		if !regexp.MustCompile(`(?m)^` + id + `~`).Match(out) {
			t.Errorf("%s is not a member:\n%s", id, out)
		}
	}
}

// newDatabase makes a PostgreSQL of its own, and a database in it.
func newDatabase(t *testing.T) string {
	t.Helper()
	server, err := postgrestest.Start(t.Context(), postgrestest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestReadmeTargets: the make targets that the README names exist.
func TestReadmeTargets(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile("`?make ([a-z]+)").FindAllSubmatch(readme, -1)
	if len(targets) < 4 {
		t.Fatalf("found only %d make targets in the README", len(targets))
	}
	for _, m := range targets {
		if !regexp.MustCompile(`(?m)^` + string(m[1]) + `:`).Match(makefile) {
			t.Errorf("the README names `make %s`, which the Makefile does not have", m[1])
		}
	}
}

// section returns what is below a heading.
func section(t *testing.T, text []byte, heading string) []byte {
	t.Helper()
	_, rest, ok := bytes.Cut(text, []byte("\n## "+heading+"\n"))
	if !ok {
		t.Fatalf("the README has no section %q", heading)
	}
	rest, _, _ = bytes.Cut(rest, []byte("\n## "))
	return rest
}

// block returns the n-th fenced block of a language.
func block(t *testing.T, text []byte, language string, n int) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1)
	if len(found) <= n {
		t.Fatalf("the README has %d blocks of %s", len(found), language)
	}
	return string(found[n][1])
}

func build(ctx context.Context, t *testing.T, out, pkg string) {
	t.Helper()
	if log, err := exec.CommandContext(ctx, "go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, log)
	}
}

// buildProgram builds a main.go as if it were in the folder words of the
// checkout.
func buildProgram(ctx context.Context, t *testing.T, dir, source string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	file, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	for path, text := range map[string]string{
		file:    source,
		overlay: `{"Replace": {"` + filepath.Join(root, "words", "main.go") + `": "` + file + `"}}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "words")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", out, "./words")
	cmd.Dir = root
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the README's program: %v\n%s", err, log)
	}
	return out
}

// background runs a command until the test ends and waits for a word of it.
func background(t *testing.T, cmd *exec.Cmd, ready string) {
	t.Helper()
	var log bytes.Buffer
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = "../..", writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	up, read := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), ready) {
				select {
				case up <- true:
				default:
				}
			}
		}
		close(up)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		<-read
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, &log)
		}
	})
	if !<-up {
		t.Fatalf("%s ended before %q", cmd, ready)
	}
}
