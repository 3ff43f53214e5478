package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// settings of a small server whose commits are durable.
func (s *Server) settings() []string {
	all := map[string]string{
		"listen_addresses": s.cfg.Host, "port": strconv.Itoa(s.port), "unix_socket_directories": s.sockets,
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
		"max_connections": "100", "shared_buffers": "64MB", "max_wal_size": "1GB",
		"timezone": "UTC", "log_timezone": "UTC", "update_process_title": "off",
		// A killed server leaves no segments behind, only files.
		"dynamic_shared_memory_type": "mmap",
		"max_wal_senders":            "0", "wal_level": "minimal",
	}
	maps.Copy(all, s.cfg.Settings)
	args := []string{"-D", s.data()}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}

// postmaster is one process of the server and those that it starts.
type postmaster struct {
	process *os.Process
	// ended is closed when the process has been waited for; err is then how.
	ended chan struct{}
	err   error
}

// launch starts the command from a thread that lives as long as the process:
// the kernel ends the process when that thread ends.
func launch(cmd *exec.Cmd) (*postmaster, error) {
	p := &postmaster{ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.process = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

// output runs a command to its end and returns what it said.
func output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := launch(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		err := p.kill()
		<-p.ended
		return out.Bytes(), errors.Join(ctx.Err(), err)
	case <-p.ended:
		return out.Bytes(), p.err
	}
}

// start starts the server in its directory, on its port.
func (s *Server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return messages.Errorf(messages.CodeInvalidArgument, "PostgreSQL on port %d is running already", s.port)
	}
	for try := 1; ; try++ {
		p, err := s.launch(ctx)
		if err == nil {
			s.running = p
			s.cfg.Logger.Info("PostgreSQL is up", "port", s.port, "pid", p.process.Pid)
			return nil
		}
		// The processes of one that was killed are still about to end.
		if !strings.Contains(err.Error(), "is still in use") || try == startTries || backoff.Sleep(ctx, startPause) != nil {
			return err
		}
	}
}

const (
	startTries = 100
	startPause = 100 * time.Millisecond
)

// launch starts the server and waits until it takes connections.
func (s *Server) launch(ctx context.Context) (*postmaster, error) {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "log of PostgreSQL: %w", err)
	}
	// The server has a descriptor of its own.
	defer func() { _ = log.Close() }()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "log of PostgreSQL: %w", err)
	}
	cmd := s.account.command(s.cfg.Command, filepath.Join(s.programs, "postgres"), s.settings()...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	p, err := launch(cmd)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "start PostgreSQL: %w", err)
	}
	if err := s.waitReady(ctx, p); err != nil {
		killErr := p.kill()
		<-p.ended
		return nil, messages.Errorf(messages.CodeInternal, "PostgreSQL on port %d does not start: %w; the end of its log:\n%s", s.port, errors.Join(err, killErr), s.logEnd(before))
	}
	return p, nil
}

func (s *Server) pidFile() string { return filepath.Join(s.data(), "postmaster.pid") }

// waitReady waits until the server says in its own file that it is ready,
// which needs no network. A killed one may have left its file.
func (s *Server) waitReady(ctx context.Context, p *postmaster) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(s.pidFile()); err == nil {
			lines := strings.Split(string(text), "\n")
			if len(lines) > 7 && lines[0] == strconv.Itoa(p.process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("it ended: %v", p.err)
		case <-tick.C:
		}
	}
}

// logEndBytes is how much of the log an error shows.
const logEndBytes = 2000

func (s *Server) logEnd(from int64) string {
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, min(int(from), len(text)), len(text)-logEndBytes):])
}

// Stop shuts the server down: it ends its sessions and writes a checkpoint. A
// stopped server stays as it is. When ctx ends first the server is killed.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.running
	if p == nil {
		return nil
	}
	s.running = nil
	if err := p.thaw(); err != nil {
		return s.failed("stop", err)
	}
	if err := p.signal(syscall.SIGINT); err != nil {
		return s.failed("stop", err)
	}
	select {
	case <-p.ended:
		s.cfg.Logger.Info("PostgreSQL has stopped", "port", s.port)
		return nil
	case <-ctx.Done():
		err := p.kill()
		<-p.ended
		return s.failed("stop", errors.Join(ctx.Err(), err))
	}
}

// Kill kills the server and all its sessions at once, as a crash does. Restart
// brings it back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.running
	if p == nil {
		return nil
	}
	s.running = nil
	if err := p.kill(); err != nil {
		return s.failed("kill", err)
	}
	<-p.ended
	s.cfg.Logger.Info("PostgreSQL was killed", "port", s.port)
	return nil
}

// Freeze stops all processes of the server: connections stay, nothing answers.
func (s *Server) Freeze() error { return s.signalAll("freeze", (*postmaster).freeze) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() error { return s.signalAll("thaw", (*postmaster).thaw) }

func (s *Server) signalAll(what string, do func(*postmaster) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return messages.Errorf(messages.CodeInvalidArgument, "%s PostgreSQL: it is not running", what)
	}
	return s.failed(what, do(s.running))
}

// Restart starts the server again on the same port and data, after stopping it
// if it runs.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.start(ctx)
}

// Close kills the server and deletes all that it had.
func (s *Server) Close() error {
	errs := []error{s.Kill()}
	if id, ok := s.sharedMemory(); ok {
		errs = append(errs, removeSharedMemory(id))
	}
	for _, dir := range []string{s.dir, s.sockets} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return s.failed("close", errors.Join(errs...))
}

// sharedMemory returns the id of the segment that the server's file names.
func (s *Server) sharedMemory() (id int, ok bool) {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return 0, false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return 0, false
	}
	fields := strings.Fields(lines[6]) // key and id
	if len(fields) != 2 {
		return 0, false
	}
	id, err = strconv.Atoi(fields[1])
	return id, err == nil
}

func (s *Server) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return messages.Errorf(messages.CodeInternal, "%s PostgreSQL: %w", what, err)
}

func (p *postmaster) signal(sig syscall.Signal) error {
	if err := p.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// freeze stops the first process before the others, so that it starts no more.
func (p *postmaster) freeze() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return p.signalChildren(syscall.SIGSTOP)
}

func (p *postmaster) thaw() error {
	return errors.Join(p.signalChildren(syscall.SIGCONT), p.signal(syscall.SIGCONT))
}

// kill returns when nothing of the server is left but the first process, which
// is to be waited for.
func (p *postmaster) kill() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	children, err := childrenOf(p.process.Pid)
	err = errors.Join(err, signalEach(children, syscall.SIGKILL), p.signal(syscall.SIGKILL))
	return errors.Join(err, waitGone(children))
}

func (p *postmaster) signalChildren(sig syscall.Signal) error {
	children, err := childrenOf(p.process.Pid)
	if err != nil {
		return err
	}
	return signalEach(children, sig)
}

func signalEach(pids []int, sig syscall.Signal) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// goneMax is how long killed processes may take to let go of what they hold.
const goneMax = 10 * time.Second

func waitGone(pids []int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(goneMax)
	for _, pid := range pids {
		for alive(pid) {
			if now := <-tick.C; now.After(deadline) {
				return fmt.Errorf("process %d was killed %v ago and is still there", pid, goneMax)
			}
		}
	}
	return nil
}
