package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const joinVariable = "LIMPET_CLUSTER_TEST_JOIN"

// TestMain is also the main of the processes that the tests kill.
func TestMain(m *testing.M) {
	for variable, run := range map[string]func(string) error{detectVariable: detectProcess, burnVariable: burnProcess} {
		if config := os.Getenv(variable); config != "" {
			if err := run(config); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	if join := os.Getenv(joinVariable); join != "" {
		if err := workerProcess(join); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// workerProcess says on its output what happens to it, until its input ends.
func workerProcess(join string) error {
	n, err := cluster.Start(context.Background(), cluster.Config{
		Role: cluster.RoleWorker, ID: "process", Join: []string{join}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	n.OnPause(func(d time.Duration) { fmt.Println("paused", d.Milliseconds()) })
	n.OnDeclaredGone(func(by cluster.Member) { fmt.Println("gone", by.WorkerID) })
	if _, err := n.System().Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), "watched"); err != nil {
		return err
	}
	fmt.Println("up", n.Self().Name)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return n.Stop(context.Background())
}

// process is a running worker process.
type process struct {
	cmd   *exec.Cmd
	name  string
	lines chan string
	said  []string
}

func startProcess(t *testing.T, join string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), joinVariable+"="+join)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, lines: make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		<-read
		_ = cmd.Wait()
	})
	p.name = p.expect(t, "up")
	return p
}

// expect waits for a line that begins with the word, among all that were said,
// and returns the rest.
func (p *process) expect(t *testing.T, word string) string {
	t.Helper()
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	for {
		for _, line := range p.said {
			if rest, ok := strings.CutPrefix(line, word+" "); ok {
				return rest
			}
		}
		select {
		case line := <-p.lines:
			p.said = append(p.said, line)
		case <-late.C:
			t.Fatalf("the process says %q, not %q", p.said, word)
		}
	}
}

func sawMember(t *testing.T, n *cluster.Node, name string, there bool) cluster.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	v, err := n.Await(ctx, func(v *cluster.View) bool { _, ok := v.Member(name); return ok == there })
	if err != nil {
		t.Fatalf("%s does not see that %s is there: %t", n.Self().Name, name, there)
	}
	m, _ := v.Member(name)
	return m
}

// watchProcess returns the time of Terminated of the process's actor.
func watchProcess(t *testing.T, n *cluster.Node, m cluster.Member) chan time.Time {
	at := make(chan time.Time, 1)
	watching := make(chan struct{})
	spawn(t, n, "watcher/"+m.ID, func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			ctx.Watch(actor.NewPID(m.Address, "watched"))
			close(watching)
		case *actor.Terminated:
			at <- time.Now()
		}
	})
	<-watching
	return at
}

func TestKilledProcess(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{a.Self().GossipAddress}})
	p := startProcess(t, a.Self().GossipAddress)
	m := sawMember(t, a, p.name, true)
	terminated := watchProcess(t, a, m)
	try, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := a.Request(try, actor.NewPID(m.Address, "none"), &messages.Activate{}); err == nil {
		t.Fatal("an answer") // The connection is up now.
	}
	start := time.Now()
	_ = p.cmd.Process.Kill()
	hint := (<-terminated).Sub(start)
	sawMember(t, a, p.name, false)
	verdict := time.Since(start)
	t.Logf("SIGKILL: Terminated after %v, gone after %v", hint, verdict)
	if verdict > 4*time.Second {
		t.Errorf("gone after %v", verdict)
	}
}

func TestStoppedProcess(t *testing.T) {
	a := onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "a"})
	onLoopback(t, cluster.Config{Role: cluster.RoleServer, ID: "b", Join: []string{a.Self().GossipAddress}})
	p := startProcess(t, a.Self().GossipAddress)
	m := sawMember(t, a, p.name, true)
	terminated := watchProcess(t, a, m)
	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	sawMember(t, a, p.name, false)
	verdict := time.Since(start)
	hint := (<-terminated).Sub(start)
	t.Logf("SIGSTOP: Terminated after %v, gone after %v", hint, verdict)
	if verdict > 4*time.Second {
		t.Errorf("gone after %v", verdict)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.expect(t, "paused")
	p.expect(t, "gone")
	back := sawMember(t, a, p.name, true)
	t.Logf("SIGCONT: back after %v", time.Since(start)-verdict)
	if back.ID == m.ID {
		t.Error("back under its old id")
	}
}
