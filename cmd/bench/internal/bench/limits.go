package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
)

const (
	// limitTime is how long each limit is measured.
	limitTime = 500 * time.Millisecond
	// limitBatch is the number of entries of a batch for the store.
	limitBatch = 64
	// limitAskers ask at the same time.
	limitAskers = 64
	// sendWindow is how many messages go one way between two questions.
	sendWindow = 5000
	// payload of a message, in bytes.
	limitPayload = 200
)

// measureLimits measures the machine when nothing else runs.
func measureLimits(ctx context.Context, dir string) (*Limits, error) {
	l := &Limits{}
	var err error
	if l.FsyncPerSLimit, err = fsyncLimit(dir); err != nil {
		return nil, err
	}
	if l.SQLiteAppendsPerSLimit, err = sqliteLimit(ctx, dir); err != nil {
		return nil, err
	}
	return l, l.actors(ctx, dir)
}

func fsyncLimit(dir string) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 4096)
	begin, n := time.Now(), 0
	for ; time.Since(begin) < limitTime; n++ {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
	}
	return perSecond(n, time.Since(begin)), nil
}

// sqliteLimit appends what the histories of runs look like: of four entries
// the first and the last come with a row.
func sqliteLimit(ctx context.Context, dir string) (float64, error) {
	store, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "limit.db")})
	if err != nil {
		return 0, err
	}
	defer func() { _ = store.Close() }()
	entry := make([]byte, limitPayload)
	n := 0
	begin := time.Now()
	for time.Since(begin) < limitTime {
		// Four batches take as many runs through their four entries.
		for number := 1; number <= 4; number++ {
			batch := make([]journal.Append, limitBatch)
			for i := range batch {
				batch[i] = limitAppend(fmt.Sprintf("limit-%d-%d", n/limitBatch/4, i), number, entry)
			}
			for _, err := range store.Append(ctx, batch) {
				if err != nil {
					return 0, err
				}
			}
			n += limitBatch
		}
	}
	return perSecond(n, time.Since(begin)), nil
}

func limitAppend(run string, number int, entry []byte) journal.Append {
	a := journal.Append{RunID: run, Number: uint64(number), Entry: entry}
	if number == 1 || number == 4 {
		a.Row = &journal.Row{
			RunID: run, Workflow: "limit", DefinitionHash: "limit", Pool: messages.DefaultPool, Trigger: "api",
			Status: messages.RunStatus_RUN_STATUS_RUNNING, CreatedAt: time.Now(),
		}
	}
	if number == 4 {
		a.Row.Status, a.Row.FinishedAt = messages.RunStatus_RUN_STATUS_SUCCEEDED, time.Now()
	}
	return a
}

func perSecond(n int, d time.Duration) float64 { return round(float64(n)/d.Seconds(), 0) }

// actors measures messages to an actor of another process.
func (l *Limits) actors(ctx context.Context, dir string) error {
	group := procs.NewGroup(dir)
	defer group.Close()
	var up peerUp
	if _, err := group.Start(ctx, "peer", rolePeer, struct{}{}, &up); err != nil {
		return err
	}
	node, err := cluster.Start(ctx, cluster.Config{
		Role: cluster.RoleServer, ID: "bench", Join: []string{up.Gossip}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	defer func() { _ = node.Stop(context.WithoutCancel(ctx)) }()
	pid := actor.NewPID(up.Address, peerActor)
	message := &messages.Result{RunId: "run", Step: "step", Attempt: 1, Outcome: &messages.Result_Output{Output: bytes.Repeat([]byte("1"), limitPayload)}}

	alone, err := l.ask(ctx, node, pid, message, 1)
	if err != nil {
		return err
	}
	slices.Sort(alone)
	l.ActorRequestMsLimit = percentile(alone, 50)
	begin := time.Now()
	together, err := l.ask(ctx, node, pid, message, limitAskers)
	if err != nil {
		return err
	}
	l.ActorRequestsPerSLimit = perSecond(len(together), time.Since(begin))
	begin = time.Now()
	sent := 0
	for time.Since(begin) < limitTime {
		for range sendWindow {
			node.System().Root.Send(pid, message)
		}
		// The answer comes after all of them: what one node sends to another
		// keeps its order.
		if _, err := request(ctx, node, pid, message); err != nil {
			return err
		}
		sent += sendWindow + 1
	}
	l.ActorSendsPerSLimit = perSecond(sent, time.Since(begin))
	return nil
}

// ask puts questions for a while and returns how long each answer took.
func (l *Limits) ask(ctx context.Context, node *cluster.Node, pid *actor.PID, message proto.Message, askers int) ([]time.Duration, error) {
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		all    []time.Duration
		failed error
		over   atomic.Bool
	)
	timer := time.AfterFunc(limitTime, func() { over.Store(true) })
	defer timer.Stop()
	for range askers {
		asking.Go(func() {
			var own []time.Duration
			var err error
			for err == nil && !over.Load() {
				begin := time.Now()
				_, err = request(ctx, node, pid, message)
				own = append(own, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
			if failed == nil {
				failed = err
			}
		})
	}
	asking.Wait()
	return all, failed
}

func request(ctx context.Context, node *cluster.Node, pid *actor.PID, message proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return node.Request(ctx, pid, message)
}

// peerActor is the name of the actor that answers.
const peerActor = "bench-peer"

type peerUp struct{ Gossip, Address string }

// peerChild is a process with an actor that answers questions.
type peerChild struct {
	node *cluster.Node
	done chan error
}

// rolePeer is the process that messages are measured with.
const rolePeer = "peer"

func newPeerChild() procs.Child { return &peerChild{done: make(chan error)} }

func (p *peerChild) Start(ctx context.Context, _ json.RawMessage) (any, error) {
	var err error
	p.node, err = cluster.Start(ctx, cluster.Config{Role: cluster.RoleServer, ID: "bench-peer"})
	if err != nil {
		return nil, err
	}
	answer := &messages.CommandReply{} // what one server answers another
	_, err = p.node.System().Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*messages.Result); ok && c.Sender() != nil {
			c.Respond(answer)
		}
	}), peerActor)
	if err != nil {
		return nil, err
	}
	self := p.node.Self()
	return peerUp{Gossip: self.GossipAddress, Address: self.Address}, nil
}

func (p *peerChild) Do(_ context.Context, order string, _ json.RawMessage) (any, error) {
	return nil, messages.Errorf(messages.CodeInvalidArgument, "a peer process knows no order %q", order)
}

func (p *peerChild) Done() <-chan error { return p.done }

func (p *peerChild) Stop(ctx context.Context) error { return p.node.Stop(ctx) }
