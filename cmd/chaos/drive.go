package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
	"github.com/limpetrun/limpet/cmd/chaos/internal/load"
	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/cmd/internal/program"
)

const (
	// startTimeout bounds the start of all nodes and of the load.
	startTimeout = 2 * time.Minute
	// healTimeout is how long after the last fault everything may take to be
	// whole and every acknowledged run to end: more is a violation.
	healTimeout = 60 * time.Second
	// evidenceTimeout bounds the reading of all histories.
	evidenceTimeout = 2 * time.Minute
	// stopTimeout bounds the orderly stop of everything.
	stopTimeout = 90 * time.Second
	// progressEvery is how often the state of the load is told.
	progressEvery = 10 * time.Second
)

// driver is one run.
type driver struct {
	options
	prepared
	ground *ground.Ground
	load   *load.Load
	// began is when the load began, which faults count from.
	began time.Time
	says  sync.Mutex
}

// drive is the run from the start of the first node to the verdict.
func (o options) drive(ctx context.Context, p prepared, groups []schedule.Group, namespaces bool) error {
	d := &driver{options: o, prepared: p, began: time.Now()}
	err := d.live(ctx, groups, namespaces)
	if err == nil && !o.keep {
		return os.RemoveAll(p.Dir)
	}
	if !errors.Is(err, program.ErrBroken) {
		fmt.Fprintf(os.Stderr, "chaos: logs and ledgers are in %s\n", p.Dir)
	}
	return err
}

func (d *driver) live(ctx context.Context, groups []schedule.Group, namespaces bool) (err error) {
	ledgers := filepath.Join(d.Dir, "ledgers")
	if err := os.Mkdir(ledgers, 0o700); err != nil {
		return err
	}
	secret := rand.Text() + rand.Text()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d.ground, err = ground.Start(starting, ground.Config{
		Dir: d.Dir, Namespaces: namespaces, Limpet: d.Limpet, Worker: workerProcess(d.Chaos, ledgers, d.preset, d.slots),
		Servers: ids("s", d.servers), Workers: ids("w", d.workers), Secret: secret, Database: startDatabase(d.Dir), Preset: d.preset, Seed: d.seed, Say: d.say,
		Drain: func(ctx context.Context, worker string, deadline time.Duration) error {
			return d.load.Drain(ctx, worker, deadline)
		},
		Undrain: func(ctx context.Context, worker string) error { return d.load.Undrain(ctx, worker) },
	})
	if err != nil {
		return err
	}
	defer d.ground.Close()
	d.say("%v", d.ground)
	loading, giveUp := context.WithCancel(ctx)
	defer giveUp()
	d.load, err = load.Start(loading, load.Config{APIs: d.ground.APIs(), Secret: secret, Seed: d.seed, LedgerDir: ledgers, Rate: d.rate})
	if err != nil {
		return err
	}
	d.began = time.Now()
	failed := d.hurt(ctx, d.schedule(groups, !namespaces))
	if ctx.Err() != nil {
		d.say("stopping")
		giveUp()
		return errors.Join(ctx.Err(), d.stop())
	}
	report, err := d.judge(ctx)
	if err != nil {
		return errors.Join(failed, err)
	}
	if err := errors.Join(failed, d.report(report)); err != nil {
		return err
	}
	return nil
}

// hurt does all faults, each at its time, until the duration is over and all are
// undone.
func (d *driver) hurt(ctx context.Context, faults []schedule.Fault) error {
	over, cancel := context.WithDeadline(ctx, d.began.Add(d.duration))
	defer cancel()
	var under sync.WaitGroup
	errs := make([]error, len(faults))
	for i, f := range faults {
		under.Go(func() { errs[i] = d.do(over, f) })
	}
	under.Go(func() { d.tell(over) })
	under.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("faults that could not be done or undone: %w", err)
	}
	return nil
}

// do does a fault at its time.
func (d *driver) do(ctx context.Context, f schedule.Fault) error {
	if backoff.Sleep(ctx, time.Until(d.began.Add(f.At))) != nil {
		return nil // the run is over before the fault's time
	}
	d.say("#%d %v", f.Number, f)
	err := d.ground.Inject(ctx, f, d.began)
	if err != nil {
		d.say("#%d failed: %v", f.Number, err)
		return err
	}
	d.say("#%d %s undone", f.Number, f.Kind)
	return nil
}

// tell tells the state of the load from time to time.
func (d *driver) tell(ctx context.Context) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.say("%v", d.load.Progress())
		case <-ctx.Done():
			return
		}
	}
}

// judge lets everything end, takes the evidence, stops all nodes and judges.
func (d *driver) judge(ctx context.Context) (*judgement, error) {
	d.load.StopStarting()
	d.say("all faults are undone; %v", d.load.Progress())
	j := &judgement{}
	settling, cancel := context.WithTimeout(ctx, healTimeout)
	defer cancel()
	if err := d.ground.Recall(settling); err != nil {
		return nil, err
	}
	j.unsettled = d.load.Settle(settling)
	d.say("%v", d.load.Progress())
	reading, stopReading := context.WithTimeout(ctx, evidenceTimeout)
	defer stopReading()
	var err error
	if j.evidence, err = d.load.Evidence(reading); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	j.unstopped = d.stop()
	j.faults, j.exits = d.ground.Faults(), d.ground.Exits()
	j.report = verdict.Check(j.evidence, j.faults)
	return j, j.addProcesses(d.Dir)
}

func (d *driver) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return d.ground.Stop(ctx)
}

// say tells what goes on, with the time since the load began.
func (d *driver) say(format string, args ...any) {
	d.says.Lock()
	defer d.says.Unlock()
	fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}
