package procs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// TestMain makes the test's executable a child where it is started as one.
func TestMain(m *testing.M) {
	Main(Roles{"echo": func() Child { return &echo{done: make(chan error, 1)} }})
	os.Exit(m.Run())
}

// echo is a child for tests.
type echo struct {
	done   chan error
	silent chan struct{}
}

func (e *echo) Start(_ context.Context, config json.RawMessage) (any, error) {
	var name string
	if err := json.Unmarshal(config, &name); err != nil {
		return nil, err
	}
	if name == "refuse" {
		return nil, messages.Errorf(messages.CodeWorkerIDTaken, "taken")
	}
	return "hello " + name, nil
}

func (e *echo) Do(_ context.Context, order string, body json.RawMessage) (any, error) {
	switch order {
	case "die":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
	case "end":
		e.done <- errors.New("by itself")
	case "hang":
		<-e.silent
	}
	return body, nil
}

func (e *echo) Done() <-chan error         { return e.done }
func (e *echo) Stop(context.Context) error { return nil }

func start(t *testing.T, name string) (*Group, *Process, error) {
	t.Helper()
	g := NewGroup(t.TempDir())
	t.Cleanup(g.Close)
	var reply string
	p, err := g.Start(t.Context(), name, "echo", name, &reply)
	if err == nil && reply != "hello "+name {
		t.Errorf("reply %q", reply)
	}
	return g, p, err
}

func TestOrdersAreAnsweredAndStopEnds(t *testing.T) {
	_, p, err := start(t, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := p.Ask(t.Context(), "echo", map[string]int{"n": 3}, &got); err != nil || got["n"] != 3 {
		t.Fatal(got, err)
	}
	u, err := p.Usage(t.Context())
	if err != nil || u.CPU <= 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	m, err := p.Memory(t.Context())
	if err != nil || m.HeapBytes <= 0 || m.Goroutines <= 0 {
		t.Errorf("memory %+v, %v", m, err)
	}
	heap := filepath.Join(t.TempDir(), "heap.prof")
	if err := p.LiveHeapProfile(t.Context(), heap); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(heap); err != nil || info.Size() == 0 {
		t.Errorf("no heap profile: %v", err)
	}
	file := filepath.Join(t.TempDir(), "cpu.prof")
	if err := errors.Join(p.StartProfile(t.Context(), file), p.EndProfile(t.Context())); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("no profile: %v", err)
	}
	if p.How() != "" {
		t.Error("ended:", p.How())
	}
	if err := p.Stop(t.Context()); err != nil || p.How() != "exit status 0" {
		t.Error(err, p.How())
	}
}

func TestAnErrorKeepsItsCode(t *testing.T) {
	_, _, err := start(t, "refuse")
	if messages.CodeOf(err) != messages.CodeWorkerIDTaken || err.Error() == "" {
		t.Error(err)
	}
}

func TestARoleThatIsNoneIsRefused(t *testing.T) {
	g := NewGroup(t.TempDir())
	t.Cleanup(g.Close)
	if _, err := g.Start(t.Context(), "a", "nobody", "a", nil); err == nil || !strings.Contains(err.Error(), `no role "nobody"`) {
		t.Error(err)
	}
}

func TestADeadProcessIsReportedWithItsLastWords(t *testing.T) {
	_, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ask(t.Context(), "die", nil, nil)
	if messages.CodeOf(err) != messages.CodeUnavailable || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "last words") {
		t.Error(err)
	}
	if err := p.Ask(t.Context(), "echo", nil, nil); messages.CodeOf(err) != messages.CodeUnavailable {
		t.Error(err)
	}
}

func TestAPausedProcessAnswersWhenItGoesOn(t *testing.T) {
	_, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Ask(ctx, "echo", 1, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a paused process answers:", err)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := p.Ask(t.Context(), "echo", 1, nil); err != nil {
		t.Error(err)
	}
}

func TestTheTreeOfAProcessHasItsChildren(t *testing.T) {
	_, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	own, err := TreeCPU(p.ID())
	if err != nil {
		t.Fatal(err)
	}
	before, err := TreeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		after := before
		for begin := time.Now(); after <= before || after < own; {
			if err := p.Ask(t.Context(), "echo", 1, nil); err != nil {
				t.Fatal(err)
			}
			if after, err = TreeCPU(os.Getpid()); err != nil || time.Since(begin) > 20*time.Second {
				t.Fatalf("%s before, %s after, %s of the child before; %v", before, after, own, err)
			}
		}
	}
	if _, err := TreeCPU(1 << 30); runtime.GOOS == "linux" && err == nil {
		t.Error("a process that is none has a tree")
	}
}

func TestAChildThatIsDoneExits(t *testing.T) {
	_, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ask(t.Context(), "end", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-p.Gone()
	if p.How() != "exit status 1" {
		t.Error(p.How())
	}
}

func TestAChildEndsWithItsStdin(t *testing.T) {
	_, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.Gone()
	if p.How() != "exit status 1" {
		t.Error(p.How())
	}
}

func TestCloseKillsWhatIsLeft(t *testing.T) {
	g, p, err := start(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Ask(ctx, "hang", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	g.Close()
	if p.How() != "signal: killed" {
		t.Error(p.How())
	}
	if _, err := g.Start(t.Context(), "b", "echo", "b", nil); err == nil {
		t.Error("a closed group started a process")
	}
}
