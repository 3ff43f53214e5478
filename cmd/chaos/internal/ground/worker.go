package ground

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
)

// supersededFor is how long a process that finds itself superseded may take to
// end.
const supersededFor = 30 * time.Second

// each does the same to every target at once.
func (i injection) each(do func(*node) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(i.f.Targets))
	for at, id := range i.f.Targets {
		all.Go(func() { errs[at] = do(i.g.node(id)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// serverIDs are the ids of all servers that have not left for good.
func (g *Ground) serverIDs() []string {
	var ids []string
	for _, n := range g.all() {
		if n.server && !n.hasLeft() {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// drain drains a worker by the API, and undrains it at the fault's end. A drain
// that was not acknowledged until then is none.
func (i injection) drain(ctx context.Context, n *node) error {
	heal, cancel := healing(ctx)
	defer cancel()
	change := i.g.noted(verdict.Fault{Kind: verdict.WorkerDrain, Target: n.id, PID: n.pid(), Deadline: i.f.Deadline})
	asking, stop := context.WithDeadline(ctx, i.until)
	defer stop()
	if err := i.g.config.Drain(asking, n.id, i.f.Deadline); err != nil {
		i.g.say("%s was not drained: %v", n.id, err)
	} else {
		change(func(f *verdict.Fault) { f.Acked = time.Now() })
	}
	i.wait(ctx)
	change(func(f *verdict.Fault) { f.Lifted = time.Now() })
	if err := i.g.config.Undrain(heal, n.id); err != nil {
		return fmt.Errorf("undrain %s: %w", n.id, err)
	}
	change(func(f *verdict.Fault) { f.Until = time.Now() })
	return nil
}

// double starts a second process with the id of the target.
func (i injection) double(ctx context.Context) error {
	n := i.target()
	d, err := i.g.add(n.id+"d", false)
	if err != nil {
		return err
	}
	d.double = n.id
	switch i.f.Kind {
	case schedule.DoubleLeaving:
		left := i.g.note(verdict.Fault{Kind: verdict.WorkerLeave, Target: n.id, PID: n.pid()})
		return i.takeOver(ctx, n, d, left, func(heal context.Context) error { return i.g.stop(heal, n) }, nil)
	case schedule.DoubleFrozen:
		thawed := i.g.note(verdict.Fault{Kind: verdict.WorkerStop, Target: n.id, PID: n.pid()})
		if err := n.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		return i.takeOver(ctx, n, d, thawed, nil, func(heal context.Context) error { return i.awaitSuperseded(heal, n) })
	case schedule.DoubleDrained:
		var both sync.WaitGroup
		var drained error
		both.Go(func() { drained = i.drain(ctx, n) })
		refused := i.refused(ctx, d)
		both.Wait()
		return errors.Join(drained, refused)
	default:
		return i.refused(ctx, d)
	}
}

// refused starts a second process that is to be refused, or to wait, and ends it
// if it did not end by itself. Whether it was let in is for the ledger to say.
func (i injection) refused(ctx context.Context, d *node) error {
	heal, cancel := healing(ctx)
	defer cancel()
	if err := i.g.startOnce(d); err != nil {
		return err
	}
	undone := i.g.note(verdict.Fault{Kind: verdict.WorkerDouble, Target: d.worker(), PID: d.process.pid()})
	i.wait(ctx)
	if d.pid() == 0 {
		i.g.say("the second %s was refused: %s", d.worker(), lastLine(d.log))
		undone()
		return nil
	}
	var err error
	if d.process.wasUp() {
		i.g.say("the second %s was let in", d.worker())
		err = i.g.stop(heal, d)
	} else {
		err = d.kill()
	}
	undone()
	return err
}

// takeOver starts a second process that is to take the place of the first, which
// is about to end, or is frozen. At the fault's end the first has its place back.
func (i injection) takeOver(ctx context.Context, n, d *node, over func(), before, after func(context.Context) error) error {
	heal, cancel := healing(ctx)
	defer cancel()
	if err := i.g.start(d); err != nil {
		return err
	}
	if before != nil {
		if err := before(heal); err != nil {
			return err
		}
	}
	if err := i.g.awaitUp(heal, d, true); err != nil {
		return fmt.Errorf("the second process: %w", err)
	}
	undone := i.g.note(verdict.Fault{Kind: verdict.WorkerDouble, Target: n.id, PID: d.pid()})
	i.wait(ctx)
	if after != nil {
		if err := after(heal); err != nil {
			return err
		}
	}
	over()
	undone()
	left := i.g.note(verdict.Fault{Kind: verdict.WorkerLeave, Target: n.id, PID: d.pid()})
	err := i.g.stop(heal, d)
	return errors.Join(err, i.back(ctx, n, left))
}

// awaitSuperseded thaws a process whose place has been taken, and waits until it
// has noticed.
func (i injection) awaitSuperseded(ctx context.Context, n *node) error {
	p := n.end()
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGCONT); err != nil && p.running() {
		return err
	}
	timer := time.NewTimer(supersededFor)
	defer timer.Stop()
	select {
	case <-p.gone:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s was superseded, and goes on %s after its thaw", n.id, supersededFor), p.signal(syscall.SIGKILL))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
