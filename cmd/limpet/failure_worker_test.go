package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

// The other side of the tests of failures: processes of this test binary that
// are the limpet command, or a worker as a user would write one. Its steps
// write to a ledger, tell the test by a socket that they began, and are held
// there if their run's input asks for it.

// failureArg makes the test binary such a process.
const failureArg = "failure-process"

// failureProcess does not return if this is one of the processes.
func failureProcess(args []string) {
	if len(args) < 3 || args[0] != failureArg {
		return
	}
	if args[1] == "worker" {
		os.Exit(playWorker(args[2]))
	}
	os.Args = append([]string{"limpet"}, args[2:]...)
	main()
}

// part is what a worker process is to be.
type part struct {
	ID     string
	Join   []string
	Slots  int
	Preset string
	Grace  time.Duration
	// Control is the test's socket, Ledger the directory of the ledgers.
	Control, Ledger string
	// Serves are the names of its workflows; none means all.
	Serves      []string
	JoinTimeout time.Duration
}

// play is the input of a run: what its steps are to do. Steps are named "b", or
// "b#2" for one attempt.
type play struct {
	// Hold lists steps that wait for the test; Deaf ones do so beyond the end
	// of their context.
	Hold []string
	Deaf bool
	// Fail lists steps that fail, Kill those that end their process.
	Fail, Kill []string
	// Spawn is the workflow of a child that step a waits for, Child its play.
	Spawn  string
	Sticky bool
	Child  *play
	// Quiet steps tell the test nothing, and take Work.
	Quiet bool
	Work  time.Duration
}

func listed(list []string, step string, attempt int) bool {
	return slices.Contains(list, step) || slices.Contains(list, fmt.Sprintf("%s#%d", step, attempt))
}

// note is what a worker process tells the test.
type note struct {
	// Kind is began, canceled or ended.
	Kind                    string
	Call                    int64
	Worker, Incarnation     string
	Run, Workflow, Step     string
	Attempt                 int
	Epoch                   uint64
	StateNew                bool
	StateReason, PrevWorker string
	Cause                   string
	At                      time.Time

	// answers is the way back to the process.
	answers *json.Encoder
}

// cue is what the test tells a held step: go on.
type cue struct{ Call int64 }

// life is a line of a worker process's standard output.
type life struct {
	// Event is waiting, ready, draining or ended.
	Event, Message, Incarnation string
	Code                        messages.Code
}

// stage is what the steps of one worker process share.
type stage struct {
	ledger *ledger.Writer

	mu   sync.Mutex
	out  *json.Encoder
	held map[int64]chan struct{}
}

// playWorker is the whole life of a worker process; it returns its exit code.
func playWorker(config string) int {
	var p part
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		return endWorker(err)
	}
	s := &stage{held: make(map[int64]chan struct{})}
	if err := s.connect(p.Control); err != nil {
		return endWorker(err)
	}
	preset, err := cluster.PresetNamed(p.Preset)
	if err != nil {
		return endWorker(err)
	}
	w, err := worker.New(worker.Config{
		ID: p.ID, Join: p.Join, Slots: p.Slots, Grace: p.Grace, Preset: preset, JoinTimeout: p.JoinTimeout,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Hooks: &worker.Hooks{
			Waiting:  func(message string) { say(life{Event: "waiting", Message: message}) },
			Draining: func() { say(life{Event: "draining"}) },
		},
	}, s.workflows(p.Serves)...)
	if err != nil {
		return endWorker(err)
	}
	if s.ledger, err = ledger.Create(filepath.Join(p.Ledger, w.Incarnation()+".ledger"), p.ID, w.Incarnation(), 0); err != nil {
		return endWorker(err)
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-w.Ready():
			say(life{Event: "ready", Incarnation: w.Incarnation()})
		case <-ended:
		}
	}()
	err = w.RunUntilSignal(context.Background())
	close(ended)
	return endWorker(err)
}

func endWorker(err error) int {
	if err == nil {
		say(life{Event: "ended"})
		return exitOK
	}
	say(life{Event: "ended", Message: err.Error(), Code: messages.CodeOf(err)})
	return exitCode(messages.CodeOf(err))
}

var saying sync.Mutex

func say(l life) {
	saying.Lock()
	defer saying.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(l)
}

// connect opens the way to the test. A process without a test ends.
func (s *stage) connect(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	s.out = json.NewEncoder(conn)
	go func() {
		in := json.NewDecoder(conn)
		for {
			var c cue
			if err := in.Decode(&c); err != nil {
				os.Exit(exitInterrupted)
			}
			s.mu.Lock()
			held := s.held[c.Call]
			delete(s.held, c.Call)
			s.mu.Unlock()
			if held != nil {
				close(held)
			}
		}
	}()
	return nil
}

func (s *stage) tell(n note) {
	n.At = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(n)
}

// Names of the workflows. Those of chainOf have steps a, b and c in a row,
// fan has the roots a and b, and c after both.
const (
	chainNone = "chain-none"
	chainSoft = "chain-soft"
	chainHard = "chain-hard"
	fanSoft   = "fan-soft"
	restless  = "restless"
	retried   = "retried"
	deadly    = "deadly"
)

// eventKey starts a run of chainNone and one of chainSoft.
const eventKey = "failure:tested"

// deadlyLosses is LostAttemptsMax of the workflow deadly.
const deadlyLosses = 3

func (s *stage) workflows(names []string) []sdk.AnyWorkflow {
	var all []sdk.AnyWorkflow
	add := func(w *sdk.Workflow[play]) {
		if len(names) == 0 || slices.Contains(names, w.Name()) {
			all = append(all, w)
		}
	}
	add(s.chain(chainNone, sdk.WorkflowConfig{OnEvents: []string{eventKey}}, sdk.StepConfig{}))
	add(s.chain(chainSoft, sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.Never, OnEvents: []string{"failure:*"}}, sdk.StepConfig{}))
	add(s.chain(chainHard, sdk.WorkflowConfig{Sticky: sdk.Hard}, sdk.StepConfig{}))
	add(s.chain(restless, sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: 500 * time.Millisecond}, sdk.StepConfig{}))
	add(s.chain(retried, sdk.WorkflowConfig{Sticky: sdk.Soft}, sdk.StepConfig{Retries: 3, Backoff: 2 * time.Second, BackoffMax: 2 * time.Second}))
	add(s.chain(deadly, sdk.WorkflowConfig{}, sdk.StepConfig{LostAttemptsMax: deadlyLosses}))
	fan := sdk.NewWorkflow[play](fanSoft, anyInput(sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.Never}))
	a, b := s.step(fan, "a", sdk.StepConfig{}), s.step(fan, "b", sdk.StepConfig{})
	s.step(fan, "c", sdk.StepConfig{Parents: sdk.Steps(a, b)})
	add(fan)
	return all
}

// anyInput: a play holds plays, which the inferred schema cannot say.
func anyInput(c sdk.WorkflowConfig) sdk.WorkflowConfig {
	c.InputSchema = sdk.AnyJSON
	return c
}

func (s *stage) chain(name string, config sdk.WorkflowConfig, step sdk.StepConfig) *sdk.Workflow[play] {
	w := sdk.NewWorkflow[play](name, anyInput(config))
	for _, name := range []string{"a", "b", "c"} {
		step.Parents = sdk.Steps(s.step(w, name, step))
	}
	return w
}

func (s *stage) step(w *sdk.Workflow[play], name string, config sdk.StepConfig) *sdk.Step[play, string] {
	return sdk.AddStep(w, name, func(ctx sdk.Context, p play) (string, error) { return s.perform(ctx, p) }, config)
}

// perform is the function of every step: it returns the id of its worker.
func (s *stage) perform(ctx sdk.Context, p play) (out string, err error) {
	call := s.ledger.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
	n := note{
		Kind: "began", Call: call, Run: ctx.RunID(), Workflow: ctx.Workflow(), Step: ctx.Step(), Attempt: ctx.Attempt(),
		Worker: ctx.WorkerID(), Incarnation: s.ledger.ID(call), Epoch: ctx.Binding().Epoch,
		StateNew: ctx.Binding().StateNew, StateReason: string(ctx.Binding().StateReason), PrevWorker: ctx.Binding().PreviousWorker,
	}
	n.Incarnation, _, _ = strings.Cut(n.Incarnation, "#")
	var released chan struct{}
	if listed(p.Hold, ctx.Step(), ctx.Attempt()) {
		released = make(chan struct{})
		s.mu.Lock()
		s.held[call] = released
		s.mu.Unlock()
	}
	if !p.Quiet {
		s.tell(n)
	}
	defer func() {
		text := ""
		if err != nil {
			text = err.Error()
		}
		s.ledger.End(call, err != nil, text)
		if !p.Quiet {
			n.Kind, n.Cause = "ended", text
			s.tell(n)
		}
	}()
	if released != nil {
		select {
		case <-released:
		case <-ctx.Done():
			n.Kind, n.Cause = "canceled", context.Cause(ctx).Error()
			s.tell(n)
			if !p.Deaf {
				return "", context.Cause(ctx)
			}
			<-released
		}
	}
	return ctx.WorkerID(), s.act(ctx, p)
}

// act does what the play says once the step is not held any more.
func (s *stage) act(ctx sdk.Context, p play) error {
	if listed(p.Kill, ctx.Step(), ctx.Attempt()) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	if p.Work > 0 {
		select {
		case <-time.After(p.Work):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if listed(p.Fail, ctx.Step(), ctx.Attempt()) {
		return fmt.Errorf("attempt %d is to fail", ctx.Attempt())
	}
	if p.Spawn == "" || ctx.Step() != "a" {
		return nil
	}
	child, err := sdk.NewWorkflow[play](p.Spawn).Spawn(ctx, *p.Child, &sdk.SpawnOptions{Sticky: p.Sticky})
	if err != nil {
		return err
	}
	return child.Wait(ctx)
}
