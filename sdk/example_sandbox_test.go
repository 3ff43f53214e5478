package sdk_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// sandbox is a shell that lives across the steps of a run.
type sandbox struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newSandbox(sdk.BindContext, string) (*sandbox, error) {
	s := &sandbox{cmd: exec.Command("sh")}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// A worker that is killed closes the pipe, and the shell ends at its end.
	s.in, s.out = in, bufio.NewReader(out)
	return s, s.cmd.Start()
}

// run has the shell execute a command that prints a line. A shell that has died
// is lost state: the steps that built it run again, then the one that asks.
func (s *sandbox) run(command string) (string, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return "", fmt.Errorf("%w: %w", sdk.ErrStateLost, err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%w: %w", sdk.ErrStateLost, err)
	}
	return strings.TrimSpace(line), nil
}

func (s *sandbox) kill(sdk.Why) error {
	err := s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return err
}

// An agent's sandbox: a child process that is kept from step to step. The run
// is HARD: it never goes to another worker. When its worker comes back as a new
// process, or the sandbox dies, the step that filled the sandbox runs again
// before the one that needs it.
func Example_sandbox() {
	agent := sdk.NewWorkflow[string]("agent", sdk.WorkflowConfig{Sticky: sdk.Hard})
	shell := sdk.NewLocal(agent, sdk.LocalConfig[*sandbox, string]{Bind: newSandbox, Release: (*sandbox).kill})
	do := func(ctx sdk.Context, command string) (string, error) {
		s, err := shell.Get(ctx)
		if err != nil {
			return "", err
		}
		return s.run(command)
	}
	prepare := sdk.AddStep(agent, "prepare", func(ctx sdk.Context, name string) (string, error) {
		b := ctx.Binding()
		fmt.Printf("prepare: epoch %d, %s, rebuild: %v\n", b.Epoch, b.StateReason, b.Rebuild)
		return do(ctx, "name="+name+"; echo ready")
	}, sdk.StepConfig{BuildsState: true})
	reached := make(chan string, 1)
	use := sdk.AddStep(agent, "use", func(ctx sdk.Context, _ string) (string, error) {
		fmt.Println("use: attempt", ctx.Attempt())
		switch ctx.Attempt() {
		case 1:
			reached <- ctx.WorkerID()
			<-ctx.Done() // the worker is killed
			return "", ctx.Err()
		case 2:
			return do(ctx, "kill -9 $$")
		}
		return do(ctx, "echo hello $name")
	}, sdk.StepConfig{Parents: sdk.Steps(prepare), NeedsState: true})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1", "worker-2")}, agent)
	check(err)
	defer closeEngine(e)
	run, err := agent.Start(ctx, e.Client(), "ada")
	check(err)
	bound := <-reached
	check(e.KillWorker(bound))
	check(e.RestartWorker(ctx, bound))
	out, err := use.Result(ctx, run)
	check(err)
	fmt.Println(out)
	// Output:
	// prepare: epoch 1, first, rebuild: false
	// use: attempt 1
	// prepare: epoch 2, worker restarted, rebuild: true
	// use: attempt 2
	// prepare: epoch 2, state lost, rebuild: true
	// use: attempt 3
	// hello ada
}
