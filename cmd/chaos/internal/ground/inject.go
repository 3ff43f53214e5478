package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/messages"
)

// healTimeout is how long it may take until what a fault took away is back.
const healTimeout = 90 * time.Second

// Inject does a fault, waits until its end, counted from start, and undoes it:
// at once when ctx ends. It returns when what was hurt is up again. An error
// says that the ground is not what the schedule wants it to be.
func (g *Ground) Inject(ctx context.Context, f schedule.Fault, start time.Time) error {
	for _, id := range f.Targets {
		n := g.node(id)
		if n == nil {
			return fmt.Errorf("%v: no node %s", f, id)
		}
		if f.Kind != schedule.RollingRestart {
			n.acting.Lock()
			defer n.acting.Unlock()
		}
	}
	i := injection{g: g, f: f, until: start.Add(f.Until)}
	if err := i.do(ctx); err != nil {
		return fmt.Errorf("%v: %w", f, err)
	}
	return nil
}

// injection is one fault under way.
type injection struct {
	g     *Ground
	f     schedule.Fault
	until time.Time
}

// do is a list: one line for each kind of fault.
//
//gocyclo:ignore
func (i injection) do(ctx context.Context) error {
	switch i.f.Kind {
	case schedule.WorkerKill:
		return i.kill(ctx, i.target(), verdict.WorkerKill)
	case schedule.ServerKill:
		return i.kill(ctx, i.target(), verdict.ServerKill)
	case schedule.ServersKill:
		undone := i.g.note(verdict.Fault{Kind: verdict.ServersAway})
		defer undone()
		return i.each(func(n *node) error { return i.kill(ctx, n, verdict.ServerKill) })
	case schedule.WorkerReplace:
		return i.replace(ctx)
	case schedule.WorkerPause:
		return i.freeze(ctx, verdict.WorkerPause)
	case schedule.WorkerStop:
		return i.freeze(ctx, verdict.WorkerStop)
	case schedule.ServerPause:
		return i.freeze(ctx, verdict.ServerPause)
	case schedule.ServerStop:
		return i.freeze(ctx, verdict.ServerStop)
	case schedule.WorkerRestart:
		return i.restart(ctx, i.target(), verdict.WorkerLeave, i.f.Until-i.f.At)
	case schedule.ServerRestart:
		return i.restart(ctx, i.target(), verdict.ServerLeave, i.f.Until-i.f.At)
	case schedule.RollingRestart:
		return i.roll(ctx)
	case schedule.JoinServer:
		return i.visit(ctx, true, verdict.ServerJoin, verdict.ServerLeave)
	case schedule.JoinForeign:
		return i.foreign(ctx)
	case schedule.JoinWorker:
		return i.visit(ctx, false, verdict.WorkerJoin, verdict.WorkerLeave)
	case schedule.WorkerFreeze:
		return i.freeze(ctx, verdict.WorkerStop)
	case schedule.WorkerDrain, schedule.WorkersDrain:
		return i.each(func(n *node) error { return i.drain(ctx, n) })
	case schedule.WorkersRestart:
		return i.each(func(n *node) error { return i.restart(ctx, n, verdict.WorkerLeave, i.f.Until-i.f.At) })
	case schedule.DoubleLive, schedule.DoubleDrained, schedule.DoubleLeaving, schedule.DoubleFrozen:
		return i.double(ctx)
	case schedule.ClockAhead:
		return i.clock(ctx, verdict.ClockStep)
	case schedule.ClockBehind:
		return i.clock(ctx, -verdict.ClockStep)
	case schedule.PGRestart, schedule.PGKill, schedule.PGFreeze:
		return i.database(ctx)
	default:
		return i.cut(ctx)
	}
}

func (i injection) target() *node { return i.g.node(i.f.Targets[0]) }

// wait waits until the fault's end, or ctx's.
func (i injection) wait(ctx context.Context) { _ = backoff.Sleep(ctx, time.Until(i.until)) }

// healing is the context of what undoes a fault: the end of the test does not
// keep it from being undone.
func healing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), healTimeout, fmt.Errorf("not healed within %s", healTimeout))
}

// note notes a fault that is about to be done; the result notes that it is
// undone.
func (g *Ground) note(f verdict.Fault) (undone func()) {
	change := g.noted(f)
	return func() { change(func(f *verdict.Fault) { f.Until = time.Now() }) }
}

// noted notes a fault that is about to be done; the result changes what is noted
// of it.
func (g *Ground) noted(f verdict.Fault) (change func(func(*verdict.Fault))) {
	f.At = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	at := len(g.faults)
	g.faults = append(g.faults, f)
	return func(do func(*verdict.Fault)) {
		g.mu.Lock()
		defer g.mu.Unlock()
		do(&g.faults[at])
	}
}

// bring starts a node's process and waits until it is up.
func (g *Ground) bring(ctx context.Context, n *node) error {
	if err := g.start(n); err != nil {
		return err
	}
	return g.awaitUp(ctx, n, true)
}

func (i injection) kill(ctx context.Context, n *node, kind verdict.Kind) error {
	undone := i.g.note(verdict.Fault{Kind: kind, Target: n.id, PID: n.pid()})
	if err := n.kill(); err != nil {
		return err
	}
	i.wait(ctx)
	return i.back(ctx, n, undone)
}

func (i injection) back(ctx context.Context, n *node, undone func()) error {
	heal, cancel := healing(ctx)
	defer cancel()
	if err := i.g.bring(heal, n); err != nil {
		return err
	}
	undone()
	return nil
}

// replace kills a worker, and another one is there while it is dead.
func (i injection) replace(ctx context.Context) error {
	n := i.target()
	undone := i.g.note(verdict.Fault{Kind: verdict.WorkerKill, Target: n.id, PID: n.pid()})
	err := n.kill()
	if err == nil {
		err = i.visit(ctx, false, verdict.WorkerJoin, verdict.WorkerLeave)
	}
	return errors.Join(err, i.back(ctx, n, undone))
}

func (i injection) freeze(ctx context.Context, kind verdict.Kind) error {
	n := i.target()
	undone := i.g.note(verdict.Fault{Kind: kind, Target: n.id, PID: n.pid()})
	if err := n.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	i.wait(ctx)
	if err := n.signal(syscall.SIGCONT); err != nil {
		return err
	}
	undone()
	return nil
}

// restart stops a node in order and starts it again after a while.
func (i injection) restart(ctx context.Context, n *node, kind verdict.Kind, down time.Duration) error {
	undone := i.g.note(verdict.Fault{Kind: kind, Target: n.id, PID: n.pid()})
	heal, cancel := healing(ctx)
	defer cancel()
	stopErr := i.g.stop(heal, n)
	_ = backoff.Sleep(ctx, down)
	return errors.Join(stopErr, i.back(ctx, n, undone))
}

// roll restarts the targets one by one, each once the one before is up.
func (i injection) roll(ctx context.Context) error {
	for _, id := range i.f.Targets {
		n := i.g.node(id)
		n.acting.Lock()
		err := i.restart(ctx, n, verdict.ServerLeave, 0)
		n.acting.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// visit starts the fault's other node, which leaves in order at the end.
func (i injection) visit(ctx context.Context, server bool, join, leave verdict.Kind) error {
	n, err := i.g.add(i.f.Extra, server)
	if err != nil {
		return err
	}
	heal, cancel := healing(ctx)
	defer cancel()
	joined := i.g.note(verdict.Fault{Kind: join, Target: n.id})
	if err := i.g.bring(heal, n); err != nil {
		return err
	}
	joined()
	i.wait(ctx)
	left := i.g.note(verdict.Fault{Kind: leave, Target: n.id, PID: n.pid()})
	if err := i.g.stop(heal, n); err != nil {
		return err
	}
	left()
	n.leave()
	return nil
}

// foreign starts a server with a store of its own, which is to end by itself before
// it serves, and to harm nobody.
func (i injection) foreign(ctx context.Context) error {
	n, err := i.g.add(i.f.Extra, true)
	if err != nil {
		return err
	}
	n.store = "sqlite:" + filepath.Join(i.g.config.Dir, n.id+".db")
	undone := i.g.note(verdict.Fault{Kind: verdict.ServerForeign, Target: n.id})
	if err := i.g.startOnce(n); err != nil {
		return err
	}
	i.wait(ctx)
	up, lives := n.process.wasUp(), n.pid() != 0
	if err := n.kill(); err != nil {
		return err
	}
	n.leave()
	undone()
	said, err := os.ReadFile(n.log)
	if err != nil || ctx.Err() != nil {
		return err // too early to say
	}
	if up || lives || !bytes.Contains(said, []byte(messages.CodeStoreMismatch)) {
		return fmt.Errorf("%s has another store, and was not refused for it: it served: %v, it lived on: %v; its log is %s", n.id, up, lives, n.log)
	}
	return nil
}

func (i injection) database(ctx context.Context) error {
	// One fault of it at a time, also when one takes longer than planned.
	i.g.acting.Lock()
	defer i.g.acting.Unlock()
	heal, cancel := healing(ctx)
	defer cancel()
	db := i.g.database
	switch i.f.Kind {
	case schedule.PGFreeze:
		undone := i.g.note(verdict.Fault{Kind: verdict.PostgresFreeze})
		if err := db.Freeze(); err != nil {
			return errors.Join(err, db.Thaw())
		}
		i.wait(ctx)
		if err := db.Thaw(); err != nil {
			return err
		}
		undone()
		return nil
	case schedule.PGKill:
		undone := i.g.note(verdict.Fault{Kind: verdict.PostgresKill})
		if err := db.Kill(); err != nil {
			return err
		}
		return i.databaseBack(ctx, heal, undone)
	default:
		undone := i.g.note(verdict.Fault{Kind: verdict.PostgresRestart})
		if err := db.Stop(heal); err != nil {
			return err
		}
		return i.databaseBack(ctx, heal, undone)
	}
}

// clock sets the database's clock, and back. Servers have to notice.
func (i injection) clock(ctx context.Context, ahead time.Duration) error {
	i.g.acting.Lock()
	defer i.g.acting.Unlock()
	heal, cancel := healing(ctx)
	defer cancel()
	before, err := i.g.clockStepsSaid()
	if err != nil {
		return err
	}
	undone := i.g.note(verdict.Fault{Kind: verdict.ClockSet})
	if err := i.g.database.SetClock(heal, ahead); err != nil {
		return err
	}
	i.wait(ctx)
	after, err := i.g.clockStepsSaid()
	if err := errors.Join(err, i.g.database.SetClock(heal, 0)); err != nil {
		return err
	}
	undone()
	if after == before && ctx.Err() == nil {
		return fmt.Errorf("the clock of the database was set by %s, and the log of no server says so", ahead)
	}
	return nil
}

// clockStepsSaid is how many times the logs of servers say that the clock was set.
func (g *Ground) clockStepsSaid() (n int, err error) {
	for _, id := range g.serverIDs() {
		said, err := os.ReadFile(g.node(id).log)
		if err != nil {
			return 0, err
		}
		n += bytes.Count(said, []byte(clock.StepSaid))
	}
	return n, nil
}

func (i injection) databaseBack(ctx, heal context.Context, undone func()) error {
	i.wait(ctx)
	if err := i.g.database.Start(heal); err != nil {
		return err
	}
	undone()
	return nil
}

// cut lets packets not get through until the fault's end.
func (i injection) cut(ctx context.Context) error {
	drops, fault := i.drops()
	undone := i.g.note(fault)
	if err := i.g.setDrops(i.f.Number, drops); err != nil {
		return err
	}
	i.wait(ctx)
	if err := i.g.setDrops(i.f.Number, nil); err != nil {
		return err
	}
	undone()
	return nil
}

// drops of the fault, and what the verdict has to know of it.
func (i injection) drops() ([]drop, verdict.Fault) {
	targets := i.f.Targets
	switch i.f.Kind {
	case schedule.PartitionNode:
		return []drop{{from: targets[0]}, {to: targets[0]}}, verdict.Fault{Kind: verdict.Partition, Target: targets[0]}
	case schedule.PartitionIn:
		return []drop{{to: targets[0]}}, verdict.Fault{Kind: verdict.OneWay, Target: targets[0]}
	case schedule.PartitionOut:
		return []drop{{from: targets[0]}}, verdict.Fault{Kind: verdict.OneWay, Target: targets[0]}
	case schedule.PartitionPG:
		var drops []drop
		for _, id := range targets {
			drops = append(drops, drop{from: id, to: databaseID}, drop{from: databaseID, to: id})
		}
		return drops, verdict.Fault{Kind: verdict.PartitionDatabase, Nodes: targets}
	case schedule.WorkerCut:
		var drops []drop
		for _, id := range i.g.serverIDs() {
			drops = append(drops, drop{from: targets[0], to: id}, drop{from: id, to: targets[0]})
		}
		return drops, verdict.Fault{Kind: verdict.PartitionServers, Target: targets[0]}
	case schedule.LinkCut:
		return []drop{{from: targets[0], to: targets[1]}, {from: targets[1], to: targets[0]}}, verdict.Fault{Kind: verdict.Cut, Nodes: targets}
	case schedule.LinkOneWay:
		return []drop{{from: targets[0], to: targets[1]}}, verdict.Fault{Kind: verdict.Cut, Nodes: targets}
	case schedule.PartitionLoss:
		return []drop{{percent: i.f.Percent}}, verdict.Fault{Kind: verdict.Loss, Nodes: i.g.ids(nil)}
	default:
		rest := i.g.ids(targets)
		var drops []drop
		for _, a := range targets {
			for _, b := range rest {
				drops = append(drops, drop{from: a, to: b}, drop{from: b, to: a})
			}
		}
		// Each side loses the other: no worker's loss is a false verdict.
		return drops, verdict.Fault{Kind: verdict.PartitionSplit, Nodes: i.g.ids(nil)}
	}
}

// setDrops puts the drops of a fault into force beside those of others; none
// ends them.
func (g *Ground) setDrops(fault int, drops []drop) error {
	g.lines.Lock()
	defer g.lines.Unlock()
	if len(drops) == 0 {
		delete(g.drops, fault)
	} else {
		g.drops[fault] = drops
	}
	var all []drop
	for _, d := range g.drops {
		all = append(all, d...)
	}
	return g.network.drop(all)
}
