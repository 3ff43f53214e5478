package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// deployDeadline ends the test of a deployment that does not go on.
	deployDeadline = 3 * time.Minute
	// loaders are how many runs the test of a deployment has under way.
	loaders = 8
)

// deployment is the one of deploy/systemd with other addresses: all processes
// are on this machine, each server at an address of its own.
type deployment struct {
	t   *testing.T
	ctx context.Context
	// dir holds what /etc/limpet does.
	dir    string
	net    string
	client *sdk.Client
	// ended counts the runs of the load.
	ended atomic.Int64
}

// newDeployment writes the files that the companion says to write.
func newDeployment(t *testing.T, store string) *deployment {
	ctx, cancel := context.WithTimeoutCause(t.Context(), deployDeadline, fmt.Errorf("not within %s", deployDeadline))
	t.Cleanup(cancel)
	d := &deployment{t: t, ctx: ctx, dir: t.TempDir(), net: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), 1+rand.IntN(250))}
	writeFile(t, filepath.Join(d.dir, "secret"), "the secret of this test, 32 characters or more\n", 0o600)
	writeFile(t, filepath.Join(d.dir, "store"), store+"\n", 0o600)
	example, err := os.ReadFile("deploy/systemd/server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		own := regexp.MustCompile(`(?m)^(id: server-|(?:listen|bind|gossip): 10\.0\.0\.1)1`).ReplaceAllString(string(example), fmt.Sprintf("${1}%d", i))
		writeFile(t, d.file(i), d.local(own), 0o644)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	d.client, err = sdk.NewClient(sdk.ClientConfig{
		Addresses: []string{d.api(1), d.api(2), d.api(3)}, Secret: "the secret of this test, 32 characters or more", HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *deployment) local(text string) string { return strings.ReplaceAll(text, "10.0.0.", d.net) }
func (d *deployment) file(i int) string {
	return filepath.Join(d.dir, fmt.Sprintf("server-%d.yaml", i))
}
func (d *deployment) api(i int) string { return fmt.Sprintf("%s1%d:7080", d.net, i) }

// unit is a process as systemd would start it.
type unit struct {
	d      *deployment
	name   string
	cmd    *exec.Cmd
	ended  chan struct{}
	output *output
}

// output of a process, which may be read while it grows.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start a process with nothing but these variables in its environment, and wait
// until it says that it is up.
func (d *deployment) start(name, up string, env []string, program string, args ...string) *unit {
	d.t.Helper()
	u := &unit{d: d, name: name, cmd: exec.Command(program, args...), ended: make(chan struct{}), output: new(output)}
	u.cmd.Env = append(env, "LIMPET_SECRET_FILE="+filepath.Join(d.dir, "secret"))
	u.cmd.Dir, u.cmd.Stdout, u.cmd.Stderr = d.dir, u.output, u.output
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := u.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		defer close(u.ended)
		_ = u.cmd.Wait()
	}()
	d.t.Cleanup(func() {
		_ = u.cmd.Process.Kill()
		<-u.ended
		if d.t.Failed() {
			d.t.Logf("%s:\n%s", name, u.output)
		}
	})
	d.until(name+" is up", func() bool {
		select {
		case <-u.ended:
			d.t.Fatalf("%s ended: %s", name, u.cmd.ProcessState)
		default:
		}
		return strings.Contains(u.output.String(), up)
	})
	return u
}

// until looks again and again, for nobody tells.
func (d *deployment) until(what string, there func() bool) {
	d.t.Helper()
	for !there() {
		if backoff.Sleep(d.ctx, pollEvery) != nil {
			d.t.Fatalf("%s: %v", what, context.Cause(d.ctx))
		}
	}
}

// server starts a server and waits until its probe says that it is ready.
func (d *deployment) server(i int) *unit {
	d.t.Helper()
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	u := d.start(fmt.Sprintf("server-%d", i), "limpet server is up", []string{"LIMPET_STORE_FILE=" + filepath.Join(d.dir, "store")},
		self, failureArg, "limpet", "server", "--config", d.file(i))
	d.until(u.name+" is ready", func() bool { return d.probe(i, "/readyz") == http.StatusOK })
	return u
}

func (d *deployment) probe(i int, path string) int {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://"+d.api(i)+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// worker starts one with the environment of the example.
func (d *deployment) worker(program, id string) *unit {
	d.t.Helper()
	text, err := os.ReadFile("deploy/systemd/worker.env")
	if err != nil {
		d.t.Fatal(err)
	}
	env := []string{"LIMPET_WORKER_ID=" + id}
	for line := range strings.Lines(d.local(string(text))) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			env = append(env, line)
		}
	}
	return d.start(id, "worker is ready", env, program)
}

// stop a process as systemd does, and wait for its end.
func (u *unit) stop(most time.Duration) {
	u.d.t.Helper()
	began := time.Now()
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		u.d.t.Fatal(err)
	}
	select {
	case <-u.ended:
	case <-u.d.ctx.Done():
		u.d.t.Fatalf("%s does not stop", u.name)
	}
	took := time.Since(began)
	u.d.t.Logf("%s stopped in %s: %s", u.name, took.Round(time.Millisecond), u.cmd.ProcessState)
	if !u.cmd.ProcessState.Success() || took > most {
		u.d.t.Errorf("%s: %s after %s, want at most %s", u.name, u.cmd.ProcessState, took, most)
	}
}

// load starts runs one after another, until told to stop, and returns them.
func (d *deployment) load(stop <-chan struct{}, name string) ([]*sdk.Run, error) {
	var runs []*sdk.Run
	for {
		select {
		case <-stop:
			return runs, nil
		default:
		}
		run, err := d.client.Start(d.ctx, "greet", name)
		if err != nil {
			return runs, err
		}
		runs = append(runs, run)
		if err := run.Wait(d.ctx); err != nil {
			return runs, fmt.Errorf("run %s: %w", run.ID(), err)
		}
		d.ended.Add(1)
	}
}

// goesOn waits until as many runs have ended from now on as there are loaders,
// twice.
func (d *deployment) goesOn() {
	d.t.Helper()
	began, enough := time.Now(), d.ended.Load()+2*loaders
	d.until("runs go on", func() bool { return d.ended.Load() >= enough })
	d.t.Logf("%d runs more in %s", 2*loaders, time.Since(began).Round(time.Millisecond))
}

// TestDeploymentOfThreeServers starts the example deployment on a database of
// its own, starts a run at each server, and restarts one server after the other
// while runs go on: none is lost, and no step runs again.
func TestDeploymentOfThreeServers(t *testing.T) {
	companion, err := os.ReadFile("deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := buildProgram(t.Context(), t, t.TempDir(), block(t, companion, "go", 0))
	store := newDatabase(t)
	d := newDeployment(t, store)
	servers := []*unit{d.server(1), d.server(2), d.server(3)}
	d.worker(program, "a")
	d.worker(program, "b")
	d.oneRunAtEachServer()

	stop := make(chan struct{})
	loads, errs := make([][]*sdk.Run, loaders), make([]error, loaders)
	var loading sync.WaitGroup
	for i := range loaders {
		loading.Go(func() { loads[i], errs[i] = d.load(stop, fmt.Sprint("loader ", i)) })
	}
	for i, server := range servers {
		d.goesOn()
		server.stop(stopTimeout)
		if code := d.probe(i+1, "/healthz"); code != 0 {
			t.Errorf("server-%d still answers with %d", i+1, code)
		}
		servers[i] = d.server(i + 1)
	}
	d.goesOn()
	close(stop)
	loading.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	d.nothingRanTwice(loads)
	d.oneRunAtEachServer()
	for _, u := range servers {
		if password := regexp.MustCompile(`//[^:]*:([^@]+)@`).FindStringSubmatch(store)[1]; strings.Contains(u.output.String(), password) {
			t.Errorf("%s tells the password of the database", u.name)
		}
	}
}

// oneRunAtEachServer starts one by the command, with the file of the server for
// its secret, and looks whether the server sees the others.
func (d *deployment) oneRunAtEachServer() {
	d.t.Helper()
	for i := 1; i <= 3; i++ {
		env := map[string]string{"LIMPET_CONFIG": d.file(i), "LIMPET_SECRET_FILE": filepath.Join(d.dir, "secret"), "LIMPET_ADDRESS": d.api(i)}
		if r := execute(d.ctx, env, "run", "start", "greet", "--input", `"you"`, "--wait"); r.code != 0 || !strings.Contains(r.out, "hello you from ") {
			d.t.Errorf("server-%d: %+v", i, r)
		}
		r := execute(d.ctx, env, "member", "list")
		for _, member := range []string{"server-1", "server-2", "server-3", "a", "b"} {
			if !regexp.MustCompile(`(?m)^`+member+`\b`).MatchString(r.out) && !strings.Contains(r.out, " "+member+" ") {
				d.t.Errorf("server-%d does not see %s: %+v", i, member, r)
			}
		}
	}
}

// nothingRanTwice looks at all runs of the load.
func (d *deployment) nothingRanTwice(loads [][]*sdk.Run) {
	d.t.Helper()
	n := 0
	for _, runs := range loads {
		for _, run := range runs {
			n++
			got, err := run.Get(d.ctx)
			if err != nil {
				d.t.Fatal(err)
			}
			if got.GetRun().GetStatus() != messages.RunStatus_RUN_STATUS_SUCCEEDED || len(got.GetSteps()) != 2 || len(got.GetBindings()) != 1 {
				d.t.Errorf("run %s: %v", run.ID(), got)
			}
			for _, s := range got.GetSteps() {
				if s.GetAttempts() != 1 {
					d.t.Errorf("run %s: step %s ran %d times", run.ID(), s.GetName(), s.GetAttempts())
				}
			}
		}
	}
	d.t.Logf("%d runs while each server was restarted", n)
}
