package ground

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is one life of a node.
type process struct {
	cmd   *exec.Cmd
	began time.Time
	// up is closed when the process says that it is; gone when it has ended.
	up, gone chan struct{}
	// told says that the process ends because it was told to. Guarded by its
	// node's lock.
	told bool
}

// launch starts a process at the site of a node. What it writes to stderr goes
// to the log.
func launch(n network, id string, cmd *exec.Cmd, log string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// The child has a descriptor of its own.
	defer func() { _ = file.Close() }()
	fmt.Fprintf(file, "--- %s starts\n", time.Now().Format(time.RFC3339Nano))
	cmd.Stderr = file
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, began: time.Now(), up: make(chan struct{}), gone: make(chan struct{})}
	if err := n.start(id, cmd); err != nil {
		return nil, err
	}
	go p.listen(out)
	return p, nil
}

// listen waits for the line that says that the process is up, which is an object
// of JSON, and for the end.
func (p *process) listen(out io.Reader) {
	defer close(p.gone)
	up := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !up && json.Valid(lines.Bytes()) {
			up = true
			close(p.up)
		}
	}
	_ = p.cmd.Wait()
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// wasUp says whether the process had begun to serve.
func (p *process) wasUp() bool {
	select {
	case <-p.up:
		return true
	default:
		return false
	}
}
