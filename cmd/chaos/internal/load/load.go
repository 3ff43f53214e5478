package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// ratePerSecond is the default of Config.Rate.
	ratePerSecond = 30
	// underWayMost limits the operations that are under way at once, so that an
	// outage does not pile up more than the cluster can work off.
	underWayMost = 100
	// retryFor is how long the client of an operation tries by itself; then the
	// operation notes an ambiguous call and makes a new one.
	retryFor = 15 * time.Second
	// waitFor is how long a wait or a watch outlives the servers' absence.
	waitFor = 3 * time.Minute
	// lastLook is how long it may take to find out what has not ended.
	lastLook = 5 * time.Second
	// pollEvery is the pause between two polls of what nobody announces.
	pollEvery = 100 * time.Millisecond
)

// Config of a load. APIs and LedgerDir are required.
type Config struct {
	// APIs are the addresses of all servers.
	APIs   []string
	Secret string
	// Seed of what is done.
	Seed uint64
	// LedgerDir is where the workers keep their ledgers.
	LedgerDir string
	// Rate is operations a second; each starts one to three runs. Defaults to
	// 30.
	Rate float64
}

// Load is clients at work.
type Load struct {
	config Config
	// clients give up after retryFor, patient ones after waitFor; the i-th of
	// each prefers the i-th address.
	clients, patient []*sdk.Client

	// stopStarting ends the generator; giveUp ends the operations.
	stopStarting, giveUp context.CancelFunc
	ctx                  context.Context
	generating           sync.WaitGroup
	operations           sync.WaitGroup

	mu    sync.Mutex
	calls []verdict.Call

	started, underWay, acknowledged, refused, ambiguous atomic.Int64
}

// Progress of a load so far.
type Progress struct {
	// Operations begun, and those that are under way.
	Operations, UnderWay int64
	// Calls by their outcome.
	Acknowledged, Refused, Ambiguous int64
}

func (p Progress) String() string {
	return fmt.Sprintf("%d operations, %d under way; %d calls acknowledged, %d refused, %d ambiguous",
		p.Operations, p.UnderWay, p.Acknowledged, p.Refused, p.Ambiguous)
}

// Start waits until every server knows all workflows, at most until ctx ends,
// and begins to start runs. ctx must outlive the load: what is under way ends
// with it.
func Start(ctx context.Context, config Config) (*Load, error) {
	if len(config.APIs) == 0 || config.LedgerDir == "" {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "a load needs addresses of the API and the directory of the ledgers")
	}
	if config.Rate == 0 {
		config.Rate = ratePerSecond
	}
	l := &Load{config: config}
	for i := range config.APIs {
		for _, kind := range []struct {
			retryFor time.Duration
			into     *[]*sdk.Client
		}{{retryFor, &l.clients}, {waitFor, &l.patient}} {
			c, err := newClient(config, i, kind.retryFor)
			if err != nil {
				return nil, err
			}
			*kind.into = append(*kind.into, c)
		}
	}
	if err := l.awaitWorkflows(ctx); err != nil {
		return nil, err
	}
	l.ctx, l.giveUp = context.WithCancel(ctx)
	var generating context.Context
	generating, l.stopStarting = context.WithCancel(l.ctx)
	l.generating.Go(func() { l.generate(generating) })
	return l, nil
}

// newClient makes a client that prefers the i-th address.
func newClient(config Config, i int, retryFor time.Duration) (*sdk.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return sdk.NewClient(sdk.ClientConfig{
		Address: config.APIs[i], Addresses: append(append([]string(nil), config.APIs[i+1:]...), config.APIs[:i]...),
		Secret: config.Secret, RetryFor: retryFor, HTTPClient: &http.Client{Transport: transport},
	})
}

// awaitWorkflows waits until all workflows are known at every server.
func (l *Load) awaitWorkflows(ctx context.Context) error {
	for _, address := range l.config.APIs {
		c, err := sdk.NewClient(sdk.ClientConfig{Address: address, Secret: l.config.Secret})
		if err != nil {
			return err
		}
		for {
			missing, err := missingWorkflows(ctx, c)
			if err == nil && len(missing) == 0 {
				break
			}
			if backoff.Sleep(ctx, pollEvery) != nil {
				return messages.Errorf(messages.CodeDeadline, "server %s does not know the workflows %s: %w", address, strings.Join(missing, ", "), ctx.Err())
			}
		}
	}
	return nil
}

func missingWorkflows(ctx context.Context, c *sdk.Client) ([]string, error) {
	all, err := c.ListWorkflows(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, w := range all {
		known[w.GetDefinition().GetName()] = true
	}
	var missing []string
	for _, name := range shapeNames {
		if !known[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// generate begins operations at the rate, with gaps that vary.
func (l *Load) generate(ctx context.Context) {
	gaps := rand.New(rand.NewPCG(l.config.Seed, 0))
	next := time.Now()
	for number := uint64(1); ; number++ {
		next = next.Add(time.Duration(gaps.ExpFloat64() / l.config.Rate * float64(time.Second)))
		if backoff.Sleep(ctx, time.Until(next)) != nil {
			return
		}
		for l.underWay.Load() >= underWayMost {
			if backoff.Sleep(ctx, pollEvery) != nil {
				return
			}
			next = time.Now()
		}
		l.started.Add(1)
		l.underWay.Add(1)
		l.operations.Go(func() {
			defer l.underWay.Add(-1)
			l.operate(number)
		})
	}
}

// StopStarting ends the beginning of operations; those under way go on.
func (l *Load) StopStarting() {
	l.stopStarting()
	l.generating.Wait()
}

// Progress says how far the load is.
func (l *Load) Progress() Progress {
	return Progress{
		Operations: l.started.Load(), UnderWay: l.underWay.Load(),
		Acknowledged: l.acknowledged.Load(), Refused: l.refused.Load(), Ambiguous: l.ambiguous.Load(),
	}
}

// Settle stops starting and waits until every operation is over and no run is
// running any more. When ctx ends first, operations are given up and the error
// says what has not ended; the evidence can be taken all the same.
func (l *Load) Settle(ctx context.Context) error {
	l.StopStarting()
	over := make(chan struct{})
	go func() {
		l.operations.Wait()
		close(over)
	}()
	for {
		select {
		case <-over:
			if left, err := l.running(ctx); err == nil && len(left) == 0 {
				return nil
			}
		default:
		}
		if backoff.Sleep(ctx, pollEvery) != nil {
			break
		}
	}
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	unsettled := l.unsettled(looking)
	l.giveUp()
	<-over
	return unsettled
}

// unsettled says what has not ended.
func (l *Load) unsettled(ctx context.Context) error {
	left, err := l.running(ctx)
	if err != nil {
		return messages.Errorf(messages.CodeDeadline, "not all has ended (%v), and what has not cannot be told: %w", l.Progress(), err)
	}
	examples := make([]string, 0, 5)
	for _, r := range left[:min(len(left), cap(examples))] {
		examples = append(examples, fmt.Sprintf("%s (%s, waits for %q)", r.GetRunId(), r.GetWorkflow(), r.GetWaitingFor()))
	}
	return messages.Errorf(messages.CodeDeadline, "not all has ended: %v; %d runs go on: %s", l.Progress(), len(left), strings.Join(examples, ", "))
}

// running returns runs that have not ended, 100 at most.
func (l *Load) running(ctx context.Context) ([]*api.Run, error) {
	got, err := l.clients[0].ListRuns(ctx, &api.ListRunsRequest{Statuses: []sdk.RunStatus{sdk.Running}, PageSize: 100})
	return got.GetRuns(), err
}

// Drain drains a worker by the API, with a deadline unless that is 0. It tries
// until it is told that the worker drains, or ctx ends.
func (l *Load) Drain(ctx context.Context, worker string, deadline time.Duration) error {
	return l.insist(ctx, func(c *sdk.Client) error {
		_, err := c.DrainWorker(ctx, worker, &sdk.DrainOptions{Deadline: deadline})
		return err
	})
}

// Undrain ends that, in the same way.
func (l *Load) Undrain(ctx context.Context, worker string) error {
	return l.insist(ctx, func(c *sdk.Client) error {
		_, err := c.UndrainWorker(ctx, worker)
		return err
	})
}

// insist asks one server after the other until one says that it is done.
func (l *Load) insist(ctx context.Context, ask func(*sdk.Client) error) error {
	for i := 0; ; i++ {
		err := ask(l.clients[i%len(l.clients)])
		if err == nil || backoff.Sleep(ctx, pollEvery) != nil {
			return err
		}
	}
}

// ledgers is the pattern of the ledgers' names.
func (l *Load) ledgers() string { return filepath.Join(l.config.LedgerDir, "*.ledger") }

// sleep waits; false if ctx ended first.
