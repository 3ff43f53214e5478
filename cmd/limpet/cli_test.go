package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

// TestMain looks for leaked goroutines. Two kinds end by themselves a little
// after a server: the throttler of Proto.Actor's dead letters at its next tick,
// and those that the actors' dispatcher keeps for the next mailbox. It is also
// the main function of the processes that the tests of failures end.
func TestMain(m *testing.M) {
	failureProcess(os.Args[1:])
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		goleak.IgnoreAnyFunction(reflect.TypeFor[pool.Pool]().PkgPath()+".(*Pool).loop"))
}

// result of a command line.
type result struct {
	out, err string
	code     int
}

// testCLI runs commands as a process would, with a fixed clock.
func testCLI(env map[string]string) (*cli, *strings.Builder, *strings.Builder) {
	var stdout, stderr strings.Builder
	c := &cli{
		in:  strings.NewReader(env["stdin"]),
		now: func() time.Time { return epoch.Add(10 * time.Second) }, zone: time.UTC,
		getenv: func(k string) string { return env[k] },
	}
	c.writesTo(&stdout, false, &stderr, false)
	return c, &stdout, &stderr
}

func execute(ctx context.Context, env map[string]string, args ...string) result {
	c, stdout, stderr := testCLI(env)
	code := c.execute(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

// TestScripts runs command lines against a fake API and compares all that they
// print; -rewrite records.
func TestScripts(t *testing.T) {
	f := &fakeAPI{waits: 1}
	address := f.serve(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "input.json"), []byte(`{"dir":"/src"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			env := map[string]string{"LIMPET_ADDRESS": address, "stdin": `{"from":"stdin"}`}
			f.mu.Lock()
			f.empty = d.Cmd == "empty"
			f.mu.Unlock()
			line := strings.ReplaceAll(d.Input, "$DIR", dir)
			r := execute(t.Context(), env, fields(line)...)
			text := strings.ReplaceAll(strings.ReplaceAll(r.out, address, "$ADDRESS"), dir, "$DIR")
			if r.err != "" {
				text += "-- stderr\n" + strings.ReplaceAll(strings.ReplaceAll(r.err, dir, "$DIR"), address, "$ADDRESS")
			}
			if r.code != 0 {
				text += fmt.Sprintf("-- exit %d\n", r.code)
			}
			return text
		})
	})
}

// fields splits a command line at spaces outside single quotes.
func fields(line string) []string {
	var all []string
	for i, part := range strings.Split(strings.TrimPrefix(line, "limpet "), "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

func TestRequestsCarryTheFlags(t *testing.T) {
	f := &fakeAPI{waits: 1}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t), "stdin": `[1]`}
	r := execute(t.Context(), env, "run", "start", "index-and-ask", "--input-file", "-", "--key", "k", "--priority", "3", "--meta", "a=b,c=d")
	if r.code != 0 {
		t.Fatal(r)
	}
	if s := f.started[0]; string(s.GetInput()) != "[1]" || s.GetIdempotencyKey() != "k" || s.GetPriority() != 3 || len(s.GetMetadata()) != 2 {
		t.Errorf("started %v", s)
	}
	r = execute(t.Context(), env, "run", "list", "--status", "failed,set-aside", "--workflow", "w", "--worker", "g", "--parent", "p", "--since", "1h", "--limit", "3")
	if r.code != 0 {
		t.Fatal(r)
	}
	l := f.listed[1] // the second page of the same listing
	if len(l.GetStatuses()) != 2 || l.GetStatuses()[1] != messages.RunStatus_RUN_STATUS_SET_ASIDE || l.GetWorkflow() != "w" || l.GetWorkerId() != "g" ||
		l.GetParentRun() != "p" || !l.GetCreatedAfter().AsTime().Equal(epoch.Add(10*time.Second-time.Hour)) || l.GetPageSize() != 1 || l.GetPageToken() != "p2" {
		t.Errorf("listed %v", l)
	}
	for _, names := range [][]string{{"--roots", "--meta"}, {"--root", "--metadata"}} {
		r = execute(t.Context(), env, "run", "list", names[0], names[1], "tenant=a", names[1], "kind=b=c", "--limit", "1")
		l = f.listed[len(f.listed)-1]
		if r.code != 0 || !l.GetRoots() || len(l.GetMetadata()) != 2 || l.GetMetadata()["tenant"] != "a" || l.GetMetadata()["kind"] != "b=c" {
			t.Errorf("%v: %v: listed %v", names, r, l)
		}
	}
	r = execute(t.Context(), env, "event", "push", "user:create", "--payload", "{}", "--id", "e", "--meta", "a=b")
	if p := f.pushed[0]; r.code != 0 || string(p.GetPayload()) != "{}" || p.GetEventId() != "e" || p.GetMetadata()["a"] != "b" {
		t.Errorf("%v: pushed %v", r, p)
	}
}

func TestSecretComesFromTheEnvironment(t *testing.T) {
	f := &fakeAPI{secret: "s3cret"}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t)}
	if r := execute(t.Context(), env, "run", "get", "good"); r.code != exitRefused || !strings.Contains(r.err, "UNAUTHENTICATED") {
		t.Errorf("without the secret: %+v", r)
	}
	env["LIMPET_SECRET"] = "s3cret"
	if r := execute(t.Context(), env, "run", "get", "good"); r.code != 0 {
		t.Errorf("with the secret: %+v", r)
	}
	if r := execute(t.Context(), env, "run", "get", "good", "--secret", "other"); r.code != exitRefused || strings.Contains(r.err, "other") {
		t.Errorf("with another one: %+v", r)
	}
}

func TestWaitingOutlivesTheServer(t *testing.T) {
	f := &fakeAPI{}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t)}
	if r := execute(t.Context(), env, "run", "start", "fails", "--wait"); r.code != exitRunFailed || f.waits != 2 || !strings.Contains(r.err, "error STEP_FAILED: run bad failed") {
		t.Errorf("waits %d: %+v", f.waits, r)
	}
	f.breakWatch = true
	r := execute(t.Context(), env, "run", "watch", "good")
	if r.code != 0 || strings.Count(r.out, "run canceled: CANCELED: enough") != 1 || strings.Count(r.out, "bound to gpu-2") != 1 ||
		!strings.Contains(r.err, "the server is stopping; trying again") {
		t.Errorf("%+v", r)
	}
}

func TestWaitEndsWithItsTime(t *testing.T) {
	f := &fakeAPI{waits: 1}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t)}
	r := execute(t.Context(), env, "run", "start", "waits", "--wait", "--timeout", "30ms")
	if r.code != exitTimeout || !strings.Contains(r.err, "run pending has not ended within 30ms; it goes on") {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := execute(ctx, env, "run", "start", "waits", "--wait"); r.code != exitInterrupted || r.err != "interrupted\n" {
		t.Errorf("%+v", r)
	}
}

func TestColoursOnlyOnATerminal(t *testing.T) {
	f := &fakeAPI{waits: 1}
	address := f.serve(t)
	for _, tc := range []struct {
		terminal bool
		noColor  string
		args     []string
		want     bool
	}{
		{false, "", nil, false}, {true, "", nil, true}, {true, "1", nil, false},
		{false, "", []string{"--color", "always"}, true}, {true, "", []string{"--color", "never"}, false},
	} {
		c, stdout, _ := testCLI(map[string]string{"LIMPET_ADDRESS": address, "NO_COLOR": tc.noColor})
		c.out.terminal = tc.terminal
		if code := c.execute(t.Context(), append([]string{"run", "list", "--limit", "2"}, tc.args...)); code != 0 {
			t.Fatal(code)
		}
		if got := strings.Contains(stdout.String(), "\x1b[31mfailed\x1b[0m"); got != tc.want {
			t.Errorf("%+v: colours %v\n%q", tc, got, stdout)
		}
	}
}

func TestProgressOnATerminal(t *testing.T) {
	f := &fakeAPI{}
	c, _, stderr := testCLI(map[string]string{"LIMPET_ADDRESS": f.serve(t)})
	c.err.terminal = true
	if code := c.execute(t.Context(), []string{"run", "start", "index-and-ask", "--wait"}); code != 0 {
		t.Fatal(code, stderr)
	}
	if s := stderr.String(); !strings.Contains(s, "the server is stopping; trying again") || !strings.HasSuffix(s, "\r\x1b[K") {
		t.Errorf("%q", s)
	}
}

// TestEveryCommandHasAnExample: --help teaches by example.
func TestEveryCommandHasAnExample(t *testing.T) {
	c, _, _ := testCLI(nil)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if (cmd.Example == "" || cmd.Short == "") && !cmd.Hidden {
			t.Errorf("%q has no example or no short text", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(c.rootCommand())
}

func TestExitCodesOfTheCatalogue(t *testing.T) {
	for code, want := range map[messages.Code]int{
		messages.CodeInvalidInput: exitInvalid, messages.CodePayloadTooLarge: exitInvalid, messages.CodeLimitExceeded: exitInvalid,
		messages.CodeUnknownRun: exitNotFound, messages.CodeUnknownWorkflow: exitNotFound,
		messages.CodeIdempotencyMismatch: exitPrecondition, messages.CodeRunFinished: exitPrecondition, messages.CodeAddressInUse: exitPrecondition,
		messages.CodeJournalInUse: exitPrecondition, messages.CodeSecretRequired: exitPrecondition,
		messages.CodeUnavailable: exitUnavailable, messages.CodeJoinFailed: exitUnavailable, messages.CodeDeadline: exitTimeout,
		messages.CodeUnauthenticated: exitRefused, messages.CodePermissionDenied: exitRefused, messages.CodeUnknownToken: exitNotFound, messages.CodeInternal: exitFailed, messages.CodeJournalCorrupt: exitFailed,
	} {
		if got := exitCode(code); got != want {
			t.Errorf("%s: exit %d, want %d", code, got, want)
		}
	}
}

// fakeServer is a server that does nothing.
type fakeServer struct {
	done    chan error
	stopped bool
}

func (s *fakeServer) APIAddress() string         { return "127.0.0.1:7180" }
func (s *fakeServer) GossipAddress() string      { return "127.0.0.1:7946" }
func (s *fakeServer) Done() <-chan error         { return s.done }
func (s *fakeServer) Stop(context.Context) error { s.stopped = true; return nil }

func TestServerStopsInOrderOnASignal(t *testing.T) {
	pages := regexp.MustCompile(`(?m)^  pages   http://127\.0\.0\.1:7180/ui/$`)
	for _, args := range [][]string{{"server"}, {"server", "--ui=read-only"}, {"server", "--ui=off"}, {"dev"}, {"server", "--json"}, {"dev", "--json"}} {
		c, stdout, stderr := testCLI(nil)
		s := &fakeServer{done: make(chan error)}
		ctx, cancel := context.WithCancel(t.Context())
		c.start = func(_ context.Context, f config.Values, _ *slog.Logger) (runningServer, error) {
			if (args[0] == "dev") != (f.Store == "memory") {
				t.Errorf("%v: store %s", args, f.Store)
			}
			cancel() // the signal
			return s, nil
		}
		if code := c.execute(ctx, args); code != 0 || !s.stopped {
			t.Errorf("%v: exit %d, stopped %v: %s", args, code, s.stopped, stderr)
		}
		if c.json != strings.HasPrefix(stdout.String(), `{"api":"127.0.0.1:7180","gossip":"127.0.0.1:7946","store":"`) {
			t.Errorf("%v: %s", args, stdout)
		}
		if named := pages.MatchString(stdout.String()); named != !(c.json || slices.Contains(args, "--ui=off")) {
			t.Errorf("%v: where its pages are: %v: %s", args, named, stdout)
		}
		if steps := strings.Contains(stdout.String(), "limpet --address 127.0.0.1:7180 run start"); steps != (args[0] == "dev" && !c.json) {
			t.Errorf("%v: next steps %v: %s", args, steps, stdout)
		}
	}
}

func TestServerThatCannotStartOrFails(t *testing.T) {
	c, _, stderr := testCLI(nil)
	c.start = func(context.Context, config.Values, *slog.Logger) (runningServer, error) {
		return nil, messages.Errorf(messages.CodeAddressInUse, "API address 127.0.0.1:7080: another process listens there")
	}
	if code := c.execute(t.Context(), []string{"server"}); code != exitPrecondition || !strings.Contains(stderr.String(), "error ADDRESS_IN_USE: API address") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	c, _, stderr = testCLI(nil)
	s := &fakeServer{done: make(chan error, 1)}
	s.done <- errors.New("listener broke")
	c.start = func(context.Context, config.Values, *slog.Logger) (runningServer, error) { return s, nil }
	if code := c.execute(t.Context(), []string{"server"}); code != exitFailed || !s.stopped || !strings.Contains(stderr.String(), "listener broke") {
		t.Errorf("exit %d, stopped %v: %s", code, s.stopped, stderr)
	}
}

// Several addresses may be given; the one that is not there is said, and the
// call goes to another one.
func TestSeveralAddresses(t *testing.T) {
	f := &fakeAPI{waits: 1}
	address := f.serve(t)
	for range 10 {
		r := execute(t.Context(), nil, "run", "get", "good", "--address", "127.0.0.1:1,"+address)
		if r.code != 0 || r.err != "" && r.err != "UNAVAILABLE: no server answers at 127.0.0.1:1: connect: connection refused; trying again\n" {
			t.Fatalf("%+v", r)
		}
	}
	r := execute(t.Context(), nil, "run", "get", "good", "--address", "127.0.0.1:1,127.0.0.1:2")
	if r.code != exitUnavailable || !strings.Contains(r.err, "127.0.0.1:1") || !strings.Contains(r.err, "127.0.0.1:2") || !strings.Contains(r.err, "limpet dev") {
		t.Errorf("%+v", r)
	}
}

// A payload that is too large is said to have the size that it has.
func TestTooLargePayloadHasItsSize(t *testing.T) {
	f := &fakeAPI{waits: 1}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t), "stdin": strings.Repeat("1", 3<<20)}
	r := execute(t.Context(), env, "run", "start", "index-and-ask", "--input-file", "-")
	if r.code != exitInvalid || !strings.Contains(r.err, "--input-file - has 3145728 bytes (3.00 MiB), more than PayloadBytesMax") {
		t.Errorf("%+v", r)
	}
}
