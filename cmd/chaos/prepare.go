package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/internal/program"
)

// preparedEnv hands what was prepared outside to the process in the network
// namespace, from where no module can be fetched.
const preparedEnv = "LIMPET_CHAOS_PREPARED"

var errLoopback = errors.New("--loopback")

// prepared is what a run needs of the disk.
type prepared struct {
	// Dir is the run's directory; Limpet and Chaos are the commands in it.
	Dir, Limpet, Chaos string
}

// run does the whole: what needs the outside first, the rest in a network
// namespace, where there can be one.
func (o options) run(ctx context.Context) error {
	groups, err := o.validate()
	if err != nil {
		return err
	}
	if o.plan {
		return o.printPlan(os.Stdout, groups)
	}
	if ground.Entered() {
		var p prepared
		if err := json.Unmarshal([]byte(os.Getenv(preparedEnv)), &p); err != nil {
			return fmt.Errorf("%s: %w", preparedEnv, err)
		}
		return o.drive(ctx, p, groups, true)
	}
	cannot := errLoopback
	if !o.loopback {
		cannot = ground.CanEnter()
	}
	if cannot != nil {
		cuts := func(g schedule.Group) bool { return g == schedule.Partition || g == schedule.Cut }
		if o.faults != "" && slices.ContainsFunc(groups, cuts) {
			return fmt.Errorf("no partitions are possible here, and --faults asks for them: %w", cannot)
		}
		fmt.Fprintf(os.Stderr, "chaos: NO PARTITIONS in this run: all nodes share loopback (%v)\n", cannot)
		groups = slices.DeleteFunc(groups, cuts)
	}
	p, err := o.prepare(ctx)
	if err != nil {
		return err
	}
	if cannot != nil {
		return o.drive(ctx, p, groups, false)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	code, err := ground.Enter(os.Args[1:], []string{preparedEnv + "=" + string(data)})
	if err != nil {
		return fmt.Errorf("%w; what there is of the run is in %s", err, p.Dir)
	}
	if code != program.ExitOK {
		// The process inside has said why.
		return program.Exit(code)
	}
	return nil
}

// prepare makes the run's directory and builds the commands into it, so that
// nothing that is built meanwhile gets into the run.
func (o options) prepare(ctx context.Context) (p prepared, err error) {
	if p.Dir, err = o.makeDir(); err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(p.Dir))
		}
	}()
	p.Limpet, p.Chaos = filepath.Join(p.Dir, "limpet"), filepath.Join(p.Dir, "chaos")
	if err := o.build(ctx, p.Limpet, "./cmd/limpet"); err != nil {
		return p, err
	}
	if o.race {
		return p, o.build(ctx, p.Chaos, "./cmd/chaos")
	}
	return p, copyExecutable(p.Chaos)
}

// makeDir makes the run's directory. Others may pass through it: PostgreSQL runs
// as another user if this is root.
func (o options) makeDir() (dir string, err error) {
	if o.dir == "" {
		dir, err = os.MkdirTemp("", "limpet-chaos-"+strconv.FormatUint(o.seed, 10)+"-")
	} else if dir, err = filepath.Abs(o.dir); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

func (o options) build(ctx context.Context, to, what string) error {
	args := []string{"build", "-o", to}
	if o.race {
		args = append(args, "-race")
	}
	command := os.Getenv("GO")
	if command == "" {
		command = "go"
	}
	out, err := exec.CommandContext(ctx, command, append(args, what)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s, in the top directory of the repository: %w\n%s", what, err, out)
	}
	return nil
}

func copyExecutable(to string) error {
	name, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (o options) printPlan(w io.Writer, groups []schedule.Group) error {
	for _, f := range o.schedule(groups, o.loopback) {
		if _, err := fmt.Fprintf(w, "%7.1f s  %v\n", f.At.Seconds(), f); err != nil {
			return err
		}
	}
	return nil
}
