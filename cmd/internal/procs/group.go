package procs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// killWait is how long a killed process may take to be gone.
const killWait = 10 * time.Second

// Group starts processes and ends those that are left. Its methods may be
// called concurrently.
type Group struct {
	dir    string
	starts chan func()
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	live map[*Process]bool
}

// NewGroup makes a group whose processes log to files in dir. Close it.
func NewGroup(dir string) *Group {
	g := &Group{dir: dir, starts: make(chan func()), closed: make(chan struct{}), live: make(map[*Process]bool)}
	go g.starter()
	return g
}

// starter starts all processes from one thread: the kernel's signal to the
// children of a dead parent really is one for a dead parent thread, and Go
// ends threads as it likes.
func (g *Group) starter() {
	runtime.LockOSThread()
	for {
		select {
		case start := <-g.starts:
			start()
		case <-g.closed:
			return
		}
	}
}

// Start starts this executable again in a role of its Main, gives it its configuration
// and waits for its first answer, which it stores in what reply points to. The
// name is for logs and errors.
func (g *Group) Start(ctx context.Context, name, role string, config, reply any) (*Process, error) {
	p, err := g.spawn(name, role)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "start process %s: %w", name, err)
	}
	if err := p.Ask(ctx, orderStart, config, reply); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Launch starts a command that takes no orders. It is the caller's to end and to
// wait for; like the others it does not outlive this process.
func (g *Group) Launch(cmd *exec.Cmd) error {
	cmd.SysProcAttr = ownGroup()
	started := make(chan error, 1)
	select {
	case g.starts <- func() { started <- cmd.Start() }:
		return <-started
	case <-g.closed:
		return errors.New("the group is closed")
	}
}

func (g *Group) spawn(name, role string) (*Process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(g.dir, fileName(name)+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// The child has a descriptor of its own.
	defer func() { _ = log.Close() }()
	cmd := exec.Command(executable, childArg, role)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.Launch(cmd); err != nil {
		return nil, err
	}
	p := newProcess(name, log.Name(), cmd, stdin)
	g.mu.Lock()
	g.live[p] = true
	g.mu.Unlock()
	go func() {
		p.listen(stdout)
		g.mu.Lock()
		delete(g.live, p)
		g.mu.Unlock()
	}()
	select {
	case <-g.closed:
		p.Kill()
		return nil, errors.New("the group is closed")
	default:
	}
	return p, nil
}

// Close kills the processes that are left and waits until they are gone.
func (g *Group) Close() {
	g.once.Do(func() { close(g.closed) })
	g.mu.Lock()
	left := make([]*Process, 0, len(g.live))
	for p := range g.live {
		left = append(left, p)
	}
	g.mu.Unlock()
	var gone sync.WaitGroup
	for _, p := range left {
		gone.Go(p.Kill)
	}
	gone.Wait()
}

// fileName keeps what is harmless in a file's name.
func fileName(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c == '/' || c == ':' || c == filepath.Separator {
			out[i] = '-'
		}
	}
	return string(out)
}
