package ground

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

const (
	// restartPause is how long a process that ended by itself stays down, as a
	// service manager would have it.
	restartPause = time.Second
	// upTimeout is how long a process may take until it is up.
	upTimeout = 60 * time.Second
	// stopTimeout is how long an orderly stop may take; then the process is
	// killed.
	stopTimeout = 40 * time.Second
)

// node is a server or a worker: a site and the process that is there now.
type node struct {
	id     string
	server bool
	// double is the id of the worker whose id the node's processes have, too;
	// empty for a node of its own.
	double string
	// store of a server that has another one than the rest; empty otherwise.
	store string
	site  site
	log   string

	// acting is held by the fault that acts on the node.
	acting sync.Mutex

	mu sync.Mutex
	// process is the newest one; nil before the first.
	process *process
	// wanted says that the node is to have a process: one that ends by itself
	// is started again.
	wanted bool
	// left says that the node was there for a while only, and is no more.
	left bool
}

// worker is the id that a worker's process has in the cluster.
func (n *node) worker() string {
	if n.double != "" {
		return n.double
	}
	return n.id
}

func (n *node) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left = true
}

func (n *node) hasLeft() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.left
}

// Exit is a process that ended without being told to, or not in order when it
// was.
type Exit struct {
	Node string
	PID  int
	At   time.Time
	// How it ended: "exit status 4".
	How string
	// Up says that it had begun to serve, Told that it had been told to end.
	Up, Told bool
	// Log is the file with its last words.
	Log string
}

// start starts the node's process and keeps it running until stop or kill.
func (g *Ground) start(n *node) error { return g.begin(n, true) }

// startOnce starts a process that is not started again when it ends.
func (g *Ground) startOnce(n *node) error { return g.begin(n, false) }

func (g *Ground) begin(n *node, wanted bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g.ctx.Err() != nil {
		return errClosed
	}
	if n.process != nil && n.process.running() {
		return fmt.Errorf("%s runs already", n.id)
	}
	command := g.command(n)
	g.lines.Lock()
	p, err := launch(g.network, n.id, command, n.log)
	g.lines.Unlock()
	if err != nil {
		return fmt.Errorf("start %s: %w", n.id, err)
	}
	n.process, n.wanted = p, wanted
	g.watching.Go(func() { g.watch(n, p) })
	return nil
}

// watch restarts a process that ends without being told to.
func (g *Ground) watch(n *node, p *process) {
	<-p.gone
	n.mu.Lock()
	told := p.told
	n.mu.Unlock()
	if told || g.ctx.Err() != nil {
		return
	}
	g.exited(n.exit(p, false))
	if backoff.Sleep(g.ctx, restartPause) != nil {
		return
	}
	n.mu.Lock()
	again := n.wanted && n.process == p
	n.mu.Unlock()
	if again {
		if err := g.start(n); err != nil {
			g.say("%v", err)
		}
	}
}

// awaitUp waits until the node is up; again is whether through processes that
// end before.
func (g *Ground) awaitUp(ctx context.Context, n *node, again bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, messages.Errorf(messages.CodeDeadline, "%s is not up after %s; its log is %s", n.id, upTimeout, n.log))
	defer cancel()
	for {
		n.mu.Lock()
		p := n.process
		n.mu.Unlock()
		select {
		case <-p.up:
			return nil
		case <-p.gone:
			if !again {
				return fmt.Errorf("%s ended with %s: %s", n.id, p.cmd.ProcessState, lastLine(n.log))
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := backoff.Sleep(ctx, restartPause/10); err != nil {
			return err
		}
	}
}

// end takes the process out of the care of watch; nil if there is none.
func (n *node) end() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = false
	if n.process == nil || !n.process.running() {
		return nil
	}
	n.process.told = true
	return n.process
}

// pid of the running process; 0 if there is none.
func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || !n.process.running() {
		return 0
	}
	return n.process.pid()
}

// kill ends the node's process as a crash does, and waits until it is gone.
func (n *node) kill() error {
	p := n.end()
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil && p.running() {
		return err
	}
	<-p.gone
	return nil
}

// stop ends the node's process in order and waits for it. One that does not end
// in order is noted as an Exit; after stopTimeout it is killed.
func (g *Ground) stop(ctx context.Context, n *node) error {
	p := n.end()
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil && p.running() {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-timer.C:
		_ = p.signal(syscall.SIGKILL)
		<-p.gone
	case <-ctx.Done():
		_ = p.signal(syscall.SIGKILL)
		<-p.gone
		return context.Cause(ctx)
	}
	if !p.cmd.ProcessState.Success() {
		g.exited(n.exit(p, true))
	}
	return nil
}

// exit describes the end of a process of the node.
func (n *node) exit(p *process, told bool) Exit {
	return Exit{Node: n.id, PID: p.pid(), At: time.Now(), How: p.cmd.ProcessState.String(), Up: p.wasUp(), Told: told, Log: n.log}
}

// signal sends a signal to the node's process; none is no error, for a process
// may end by itself at any time.
func (n *node) signal(s syscall.Signal) error {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p == nil || !p.running() {
		return nil
	}
	if err := p.signal(s); err != nil && p.running() {
		return fmt.Errorf("%v to %s: %w", s, n.id, err)
	}
	return nil
}
