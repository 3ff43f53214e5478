package procs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// lineBytesMax is the longest line between parent and child.
const lineBytesMax = 16 << 20

// logTailLines is how much of its log the error of a dead process quotes.
const logTailLines = 12

// order is a line to a child.
type order struct {
	ID   int64           `json:"id"`
	Do   string          `json:"do"`
	Body json.RawMessage `json:"body,omitempty"`
}

// answer is a line from a child.
type answer struct {
	// ID is the order's.
	ID    int64           `json:"id"`
	Body  json.RawMessage `json:"body,omitempty"`
	Code  messages.Code   `json:"code,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Process is a child process. Its methods may be called concurrently.
type Process struct {
	// Name it was started under.
	Name string
	log  string
	cmd  *exec.Cmd

	// mu lets one order and its answer pass at a time.
	mu      sync.Mutex
	last    int64
	stdin   io.WriteCloser
	answers chan answer
	gone    chan struct{}
	err     error
}

func newProcess(name, log string, cmd *exec.Cmd, stdin io.WriteCloser) *Process {
	return &Process{Name: name, log: log, cmd: cmd, stdin: stdin, answers: make(chan answer, 1), gone: make(chan struct{})}
}

// listen takes the child's answers until it has ended.
func (p *Process) listen(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			// Something printed where only answers belong.
			continue
		}
		p.answers <- a
	}
	p.err = p.cmd.Wait()
	close(p.gone)
}

// ID is the id of the process.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Gone is closed when the process has ended; How then says how.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// How says how the process ended: "exit status 1", "signal: killed". Empty
// while it runs.
func (p *Process) How() string {
	select {
	case <-p.gone:
		return p.cmd.ProcessState.String()
	default:
		return ""
	}
}

// Ask gives the child an order and stores its answer in what reply points to;
// nil for none. The error is the child's own, UNAVAILABLE if it ended, or ctx's
// cause; an answer that comes later is dropped.
func (p *Process) Ask(ctx context.Context, do string, body, reply any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	line, err := json.Marshal(order{ID: p.last, Do: do, Body: data})
	if err != nil {
		return err
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		<-p.gone
		return p.ended()
	}
	for {
		select {
		case a := <-p.answers:
			if a.ID == p.last {
				return a.store(reply)
			}
		case <-p.gone:
			select {
			case a := <-p.answers:
				return a.store(reply)
			default:
				return p.ended()
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a answer) store(reply any) error {
	if a.Error != "" {
		return messages.Errorf(a.Code, "%s", a.Error)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(a.Body, reply)
}

func (p *Process) ended() error {
	return messages.Errorf(messages.CodeUnavailable, "process %s ended (%s)%s", p.Name, p.How(), p.logTail())
}

// logTail is the end of the process's log, on lines of its own.
func (p *Process) logTail() string {
	data, err := os.ReadFile(p.log)
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = lines[max(0, len(lines)-logTailLines):]
	return "; the end of its log:\n  " + strings.Join(lines, "\n  ")
}

// Stop asks the child to end in order and waits for it; it is killed when ctx
// ends first.
func (p *Process) Stop(ctx context.Context) error {
	err := p.Ask(ctx, orderStop, nil, nil)
	p.mu.Lock()
	_ = p.stdin.Close()
	p.mu.Unlock()
	select {
	case <-p.gone:
	case <-ctx.Done():
		p.Kill()
		return context.Cause(ctx)
	}
	var coded *messages.Error
	if errors.As(err, &coded) && coded.Code == messages.CodeUnavailable && p.err == nil {
		return nil
	}
	return err
}

// Kill ends the process as a crash would (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	timer := time.NewTimer(killWait)
	defer timer.Stop()
	for {
		select {
		case <-p.gone:
			return
		case <-p.answers:
		case <-timer.C:
			return
		}
	}
}
