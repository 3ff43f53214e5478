package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// failureDeadline ends a test that waits in vain.
	failureDeadline = 90 * time.Second
	// pollEvery is the pause between two polls of what nobody announces.
	pollEvery = 20 * time.Millisecond
)

// feed is a growing list that can be waited for.
type feed[T any] struct {
	mu      sync.Mutex
	items   []T
	changed chan struct{}
}

func newFeed[T any]() *feed[T] { return &feed[T]{changed: make(chan struct{})} }

func (f *feed[T]) add(x T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, x)
	close(f.changed)
	f.changed = make(chan struct{})
}

// find returns the first item that matches, and what is closed when there are
// more.
func (f *feed[T]) find(match func(T) bool) (found T, ok bool, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.items {
		if match(x) {
			return x, true, nil
		}
	}
	return found, false, f.changed
}

// await returns the first item that matches, now or later.
func (f *feed[T]) await(ctx context.Context, match func(T) bool) (T, error) {
	for {
		x, ok, more := f.find(match)
		if ok {
			return x, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return x, context.Cause(ctx)
		}
	}
}

// rig is a server process and worker processes of one test.
type rig struct {
	t   *testing.T
	ctx context.Context

	dir, preset         string
	api, gossip, actors string
	group               *procs.Group
	control             net.Listener
	reading, keeping    sync.WaitGroup
	notes               *feed[note]
	client              *sdk.Client

	mu        sync.Mutex
	processes []*process
}

// newRig prepares a cluster with the timing of a membership preset; it starts
// no process yet.
func newRig(t *testing.T, preset string) *rig {
	t.Helper()
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, dir: t.TempDir(), preset: preset, control: control, notes: newFeed[note](),
		api: freeAddress(t), gossip: freeAddress(t), actors: freeAddress(t),
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), failureDeadline, fmt.Errorf("not within %s", failureDeadline))
	r.ctx = ctx
	if err := os.Mkdir(filepath.Join(r.dir, "ledger"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.group = procs.NewGroup(r.dir)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	r.client, err = sdk.NewClient(sdk.ClientConfig{Address: r.api, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	r.reading.Go(r.listen)
	t.Cleanup(func() {
		cancel()
		r.keeping.Wait()
		r.end()
		transport.CloseIdleConnections()
	})
	return r
}

// freeAddress returns one that nobody listens at, by TCP and UDP, and of a port
// that the system gives to nobody, so that it is still free when a process
// comes back to it.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		if _, given := addressesGiven.LoadOrStore(address, true); given {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		p, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = p.Close()
		return address
	}
	t.Fatal("no free port")
	return ""
}

// addressesGiven are those that freeAddress has returned: nobody listens there
// yet, perhaps.
var addressesGiven sync.Map

// listen takes in what the workers' steps tell.
func (r *rig) listen() {
	for {
		conn, err := r.control.Accept()
		if err != nil {
			return
		}
		r.reading.Go(func() {
			defer func() { _ = conn.Close() }()
			in, answers := json.NewDecoder(conn), json.NewEncoder(conn)
			for {
				n := note{answers: answers}
				if err := in.Decode(&n); err != nil {
					return
				}
				r.notes.add(n)
			}
		})
	}
}

// end kills what still runs and says what the processes logged if the test
// failed. A race or a panic in any of them fails it.
func (r *rig) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.processes {
		_ = p.cmd.Process.Kill()
		<-p.gone
		log, err := os.ReadFile(p.log)
		if err != nil {
			r.t.Error(err)
		}
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:", "level=ERROR"} {
			if strings.Contains(string(log), bad) {
				r.t.Errorf("%s logged %q", p.name, bad)
			}
		}
		if r.t.Failed() {
			r.t.Logf("log of %s (process %d, %v):\n%s", p.name, p.cmd.Process.Pid, p.cmd.ProcessState, tail(log))
		}
	}
	r.group.Close()
	_ = r.control.Close()
	r.reading.Wait()
}

func tail(log []byte) string {
	const bytesMax = 6000
	return string(log[max(0, len(log)-bytesMax):])
}

// process is a child process of a test.
type process struct {
	r         *rig
	name, log string
	cmd       *exec.Cmd
	lives     *feed[life]
	// up is the line of a server that is up.
	up     *feed[serverUp]
	gone   chan struct{}
	launch time.Time
}

// serverUp is what a server says when it is up.
type serverUp struct{ API, Gossip, Store string }

// spawn starts this test binary as another process, and takes in its output.
func (r *rig) spawn(name string, args ...string) *process {
	r.t.Helper()
	executable, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &process{
		r: r, name: name, log: filepath.Join(r.dir, fmt.Sprintf("%02d-%s.log", len(r.processes), name)), launch: time.Now(),
		cmd: exec.Command(executable, append([]string{failureArg}, args...)...), lives: newFeed[life](), up: newFeed[serverUp](), gone: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.group.Launch(p.cmd); err != nil {
		r.t.Fatal(err)
	}
	r.processes = append(r.processes, p)
	go func() {
		defer close(p.gone)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct {
				life
				serverUp
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				continue
			}
			if line.API != "" {
				p.up.add(line.serverUp)
			} else {
				p.lives.add(line.life)
			}
		}
		_ = p.cmd.Wait()
	}()
	return p
}

// server starts the server, at the same addresses and on the same journal each
// time, and returns once it is up.
func (r *rig) server() *process {
	r.t.Helper()
	p := r.limpet("server", r.serverArgs()...)
	awaitOr(p, p.up, "to be up", func(serverUp) bool { return true })
	return p
}

func (r *rig) serverArgs(more ...string) []string {
	return append([]string{"server", "--json", "--id", "server", "--store", r.store(), "--listen", r.api,
		"--gossip", r.gossip, "--bind", r.actors, "--preset", r.preset}, more...)
}

func (r *rig) store() string { return "sqlite:" + filepath.Join(r.dir, "journal.db") }

// limpet starts the limpet command.
func (r *rig) limpet(name string, args ...string) *process {
	r.t.Helper()
	return r.spawn(name, append([]string{"limpet"}, args...)...)
}

// launch starts a worker process; change may change what it is to be.
func (r *rig) launch(id string, slots int, change ...func(*part)) *process {
	r.t.Helper()
	config := part{
		ID: id, Join: []string{r.gossip}, Slots: slots, Preset: r.preset, Grace: 20 * time.Second,
		Control: r.control.Addr().String(), Ledger: filepath.Join(r.dir, "ledger"),
	}
	for _, f := range change {
		f(&config)
	}
	data, err := json.Marshal(config)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.spawn(id, "worker", string(data))
}

// worker starts a worker process and returns once placement gives it new runs.
func (r *rig) worker(id string, slots int, change ...func(*part)) *process {
	r.t.Helper()
	p := r.launch(id, slots, change...)
	p.ready()
	return p
}

// ready waits until the worker was admitted and placement has heard its load.
func (p *process) ready() (incarnation string) {
	p.r.t.Helper()
	up := awaitOr(p, p.lives, "to be ready", func(l life) bool { return l.Event == "ready" })
	p.r.look(p.name+" to be listed", func() bool {
		workers, err := p.r.client.ListWorkers(p.r.ctx)
		if err != nil {
			p.r.t.Fatal(err)
		}
		for _, w := range workers {
			if w.GetIncarnation() == up.Incarnation && w.GetState() == api.WorkerUp && w.GetReported() {
				return true
			}
		}
		return false
	})
	return up.Incarnation
}

// look looks again and again until f is true.
func (r *rig) look(what string, f func() bool) {
	r.t.Helper()
	again := time.NewTicker(pollEvery)
	defer again.Stop()
	for !f() {
		select {
		case <-again.C:
		case <-r.ctx.Done():
			r.t.Fatalf("waiting for %s: %v", what, context.Cause(r.ctx))
		}
	}
}

// keep restarts a worker whenever it dies, until the test ends.
func (r *rig) keep(p *process, slots int) {
	r.keeping.Go(func() {
		for {
			select {
			case <-p.gone:
			case <-r.ctx.Done():
				return
			}
			p = r.launch(p.name, slots)
		}
	})
}

// pass lets time pass: that of a fault that lasts.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
		r.t.Fatal(context.Cause(r.ctx))
	}
}

// awaitOr waits for a line of a process, which is not to end before.
func awaitOr[T any](p *process, f *feed[T], what string, match func(T) bool) T {
	p.r.t.Helper()
	ctx, cancel := context.WithCancelCause(p.r.ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.gone:
			cancel(fmt.Errorf("it ended: %v", p.cmd.ProcessState))
		case <-ctx.Done():
		}
	}()
	x, err := f.await(ctx, match)
	if err != nil {
		// The line may have come with the end.
		if x, ok, _ := f.find(match); ok {
			return x
		}
		p.r.t.Fatalf("waiting for %s %s: %v", p.name, what, err)
	}
	return x
}

// says waits for a line of a worker process.
func (p *process) says(event string) life {
	p.r.t.Helper()
	return awaitOr(p, p.lives, "to say "+event, func(l life) bool { return l.Event == event })
}

func (p *process) signal(s syscall.Signal) time.Time {
	p.r.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.r.t.Fatalf("%v to %s: %v", s, p.name, err)
	}
	return time.Now()
}

// kill is a crash; it returns when the process is gone.
func (p *process) kill() time.Time {
	p.r.t.Helper()
	at := p.signal(syscall.SIGKILL)
	<-p.gone
	return at
}

// exit waits for the process's own end and returns its exit code and what it
// wrote to standard error.
func (p *process) exit() (code int, stderr string) {
	p.r.t.Helper()
	select {
	case <-p.gone:
	case <-p.r.ctx.Done():
		p.r.t.Fatalf("%s does not end: %v", p.name, context.Cause(p.r.ctx))
	}
	data, err := os.ReadFile(p.log)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode(), string(data)
}

// ended is the last line of a worker process that ended by itself.
func (p *process) ended(wantCode int, want messages.Code) life {
	p.r.t.Helper()
	code, stderr := p.exit()
	l, ok, _ := p.lives.find(func(l life) bool { return l.Event == "ended" })
	if !ok || code != wantCode || l.Code != want {
		p.r.t.Errorf("%s: exit code %d, want %d; end %+v, want %q; its log:\n%s", p.name, code, wantCode, l, want, tail([]byte(stderr)))
	}
	return l
}
