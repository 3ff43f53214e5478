package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/cmd/internal/program"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// Names of the runs that are not numbered.
const (
	nameHard   = "hard"
	nameParent = "parent"
	nameChild  = "child"
)

// limit of the whole demo.
const limit = 110 * time.Second

// killedFor is how long the killed worker is left dead at least.
const killedFor = 3 * time.Second

// Config of the demo.
type Config struct {
	// Runs is the number of SOFT runs, beside the HARD one and the parent.
	Runs int
	// Workers and Slots of each; at least two workers.
	Workers, Slots int
	// Pace is the pause after each answer.
	Pace time.Duration
	// Keep leaves the cluster up until the context ends, and the directory with the
	// journal, the ledgers and the logs.
	Keep bool
	// Out gets what happens; Terminal says that somebody watches.
	Out      io.Writer
	Terminal bool
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	if c.Runs < 1 || c.Runs > 200 {
		faults = append(faults, fmt.Errorf("--runs is %d, must be 1 to 200", c.Runs))
	}
	if c.Workers < 2 || c.Workers > 16 {
		faults = append(faults, fmt.Errorf("--workers is %d, must be 2 to 16", c.Workers))
	}
	if c.Slots < 1 || c.Slots > 100 {
		faults = append(faults, fmt.Errorf("--slots is %d, must be 1 to 100", c.Slots))
	}
	if c.Pace < 0 || c.Pace > time.Minute {
		faults = append(faults, fmt.Errorf("--pace is %s, must be 0 to 1m", c.Pace))
	}
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "%w", errors.Join(faults...))
	}
	return nil
}

// Roles are what the processes of the demo do.
func Roles() procs.Roles {
	return localcluster.Roles(func() procs.Child { return localcluster.WorkerChild(Workflows) })
}

// stage is a demo that runs.
type stage struct {
	config  Config
	screen  *Screen
	set     *Set
	cluster *localcluster.Cluster
	client  *sdk.Client
	board   *Board
	// killed is the worker that was killed on purpose.
	killed                string
	killedAt, restartedAt time.Time
}

// Run runs the demo: program.ErrBroken if a promise was broken.
func Run(ctx context.Context, config Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	root, err := Source(ctx)
	if err != nil {
		return err
	}
	corpora, err := slice(root, config.Runs+2)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "limpet-demo-")
	if err != nil {
		return err
	}
	if !config.Keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	whole := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, limit, messages.Errorf(messages.CodeDeadline, "the demo is not over after %s", limit))
	defer cancel()
	s := &stage{config: config, screen: NewScreen(config.Out, config.Terminal), set: newSet(&process{})}
	defer s.screen.Status("")
	s.screen.Text(fmt.Sprintf("%d SOFT runs, one HARD, one with a sticky child; each indexes its share of %s\n"+
		"in its first step, in the memory of a worker, and answers questions from there.\n", config.Runs, root))
	if config.Keep {
		s.screen.Text("journal, ledgers and logs: " + dir + "\n")
	}
	if err := s.start(ctx, dir); err != nil {
		return err
	}
	defer s.cluster.Close()
	if err := s.play(ctx, corpora); err != nil {
		if !errors.Is(err, context.Canceled) {
			s.explain()
		}
		return err
	}
	if err := s.finish(ctx); err != nil {
		return err
	}
	if config.Keep {
		s.screen.Text("\nThe cluster stays up: look at " + s.dashboard() + ". Interrupt (Ctrl-C) ends it.\n")
		<-whole.Done()
	}
	return s.cluster.Stop()
}

// dashboard is its address.
func (s *stage) dashboard() string { return "http://" + s.cluster.APIAddress() + "/ui/" }

func (s *stage) workers() []string {
	var ids []string
	for i := range s.config.Workers {
		ids = append(ids, fmt.Sprintf("worker-%d", i+1))
	}
	return ids
}

func (s *stage) start(ctx context.Context, dir string) error {
	var err error
	s.cluster, err = localcluster.Start(ctx, localcluster.Config{
		Dir: dir, Store: localcluster.StoreSQLite, Slots: s.config.Slots,
		Died: func(name, how string) { s.screen.Line("!! %s died (%s), it will be restarted", name, how) },
		Restarted: func(name string, err error) {
			if err != nil {
				s.screen.Line("!! %s could not be restarted: %v", name, err)
				return
			}
			s.screen.Line("!! %s is up again", name)
		},
	}, s.workers()...)
	if err != nil {
		return err
	}
	if s.client, err = s.cluster.Client(); err != nil {
		return err
	}
	s.board = newBoard(s.client, s.screen)
	s.screen.Line("up: a server, and %s with %d slots each", strings.Join(s.workers(), ", "), s.config.Slots)
	s.screen.Line("the dashboard is at %s", s.dashboard())
	return nil
}

// play starts the runs, kills a worker half-way, brings it back, and returns
// when all runs have ended.
func (s *stage) play(ctx context.Context, corpora []Corpus) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.board.watching.Wait()
	}()
	go s.status(ctx)
	if err := s.startRuns(ctx, corpora); err != nil {
		return err
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	if err := s.bringBack(ctx); err != nil {
		return err
	}
	return s.board.until(ctx, "all runs have ended", s.board.allEnded)
}

func (s *stage) startRuns(ctx context.Context, corpora []Corpus) error {
	start := func(w *sdk.Workflow[Job], name string, sticky sdk.Sticky) error {
		corpus := corpora[0]
		corpora = corpora[1:]
		run, err := w.Start(ctx, s.client, Job{Corpus: corpus, PaceMs: int(s.config.Pace / time.Millisecond)},
			&sdk.StartOptions{Metadata: map[string]string{"name": name}, IdempotencyKey: name})
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		s.board.follow(ctx, &runView{name: name, id: run.ID(), corpus: corpus, sticky: sticky})
		return nil
	}
	if err := start(s.set.hard, nameHard, sdk.Hard); err != nil {
		return err
	}
	if err := start(s.set.parent, nameParent, sdk.Soft); err != nil {
		return err
	}
	for i := range s.config.Runs {
		if err := start(s.set.soft, fmt.Sprintf("soft-%02d", i+1), sdk.Soft); err != nil {
			return err
		}
	}
	return nil
}

// kill waits until a third of all steps is done and the HARD run's worker
// holds SOFT runs too, and kills that worker.
func (s *stage) kill(ctx context.Context) error {
	err := s.board.until(ctx, "a third of the steps is done", func() bool {
		t, hard := s.board.count(), s.board.runs[0]
		others := t.live[hard.worker()] - 1
		halfway := t.done*3 >= t.steps && others > 0 && len(hard.results) >= 2
		return (halfway || len(hard.results) >= len(questions)-1) && !hard.ended
	})
	if err != nil {
		return err
	}
	s.board.mu.Lock()
	s.killed = s.board.runs[0].worker()
	held := s.board.count().live[s.killed]
	s.board.mu.Unlock()
	p, err := s.cluster.Process(s.killed)
	if err != nil {
		return err
	}
	s.screen.Line(">> SIGKILL to %s (process %d), which holds %d runs, %s among them", s.killed, p.ID(), held, nameHard)
	s.killedAt = time.Now()
	return s.cluster.Kill(s.killed)
}

// bringBack waits until every SOFT run has left the killed worker and the HARD
// one is pending, and starts it again.
func (s *stage) bringBack(ctx context.Context) error {
	err := s.board.until(ctx, "the killed worker's SOFT runs have moved", func() bool {
		for _, v := range s.board.runs {
			if v.ended || v.worker() != s.killed {
				continue
			}
			if v.pending == "" || v.sticky == sdk.Soft {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	s.screen.Line(">> all SOFT runs have left %s after %s; %s is pending", s.killed, span(time.Since(s.killedAt)), nameHard)
	if err := backoff.Sleep(ctx, time.Until(s.killedAt.Add(killedFor))); err != nil {
		return err
	}
	s.screen.Line(">> %s is started again under the same id", s.killed)
	s.restartedAt = time.Now()
	return s.cluster.StartWorker(s.killed)
}

// status keeps the status line.
func (s *stage) status(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.screen.Status("")
			return
		case <-ticker.C:
			t := s.board.tally()
			text := fmt.Sprintf("%s steps %d/%d  runs %d/%d ", bar(t.done, t.steps, 20), t.done, t.steps, t.ended, t.runs)
			for _, id := range s.workers() {
				text += fmt.Sprintf("  %s:%d", id, t.live[id])
			}
			if t.pending > 0 {
				text += fmt.Sprintf("  pending:%d", t.pending)
			}
			s.screen.Status(text)
		}
	}
}

// explain says what unfinished runs wait for.
func (s *stage) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	s.board.mu.Lock()
	runs := slices.Clone(s.board.runs)
	s.board.mu.Unlock()
	for _, v := range runs {
		if v.ended {
			continue
		}
		got, err := s.client.Run(v.id).Get(ctx)
		if err != nil {
			s.screen.Line("%s: %v", v.name, err)
			continue
		}
		for _, step := range got.GetSteps() {
			if p := step.GetPhase(); p != api.PhaseSucceeded && p != api.PhaseWaiting {
				s.screen.Line("%s is not over: %s is %s on %q (attempt %d); it waits for %q", v.name, step.GetName(), p, step.GetWorkerId(), step.GetAttempts(), got.GetRun().GetWaitingFor())
			}
		}
	}
}

// finish prints the table and the verdict.
func (s *stage) finish(ctx context.Context) error {
	executions, err := s.cluster.Ledger(ctx)
	if err != nil {
		return err
	}
	e := &evidence{runs: s.board.runs, ledger: executions, dead: s.dead(executions)}
	s.screen.Status("")
	s.screen.Text("\n" + table(e) + "\n")
	s.screen.Text(s.times(e))
	promises := e.judge(ctx)
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s.screen.Text("\nWhat the steps recorded, against what was promised:\n")
	broken := false
	for _, p := range promises {
		mark := "kept   "
		if len(p.broken) > 0 {
			mark, broken = "BROKEN ", true
		}
		s.screen.Text(fmt.Sprintf("  %s %s (%s)\n", mark, p.text, p.kept))
		for _, fault := range p.broken {
			s.screen.Text("            " + fault + "\n")
		}
	}
	if broken {
		return program.ErrBroken
	}
	return nil
}

// dead are the incarnations whose processes ended before the demo did.
func (s *stage) dead(executions []ledger.Execution) map[string]bool {
	dead := make(map[string]bool)
	for _, x := range executions {
		if !s.cluster.Live(x.Process) {
			dead[x.Incarnation] = true
		}
	}
	return dead
}
