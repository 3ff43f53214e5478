package procs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Orders that every child knows.
const (
	orderStart = "start"
	orderStop  = "stop"
)

// stopTimeout is how long a child that lost its parent may take to stop.
const stopTimeout = 5 * time.Second

// Child is what a child process does.
type Child interface {
	// Start begins by the configuration; the reply goes to the parent.
	Start(ctx context.Context, config json.RawMessage) (reply any, err error)
	// Do follows an order.
	Do(ctx context.Context, order string, body json.RawMessage) (reply any, err error)
	// Done says that the child ended by itself, and why. Not called before
	// Start has returned.
	Done() <-chan error
	// Stop ends the child in order.
	Stop(ctx context.Context) error
}

// Roles are the children that an executable can be, by the names of their roles.
type Roles map[string]func() Child

// childArg is the first argument of a child process; its role is the second.
const childArg = "process"

// Main is called first in the main function of a program that starts itself. It
// returns in a process that was not started as a child. In a child it does what
// its role does and exits.
func Main(roles Roles) {
	if len(os.Args) != 3 || os.Args[1] != childArg {
		return
	}
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore)
	if err := roles.serve(ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	os.Exit(0)
}

// exitFailed is the exit code of a child that ended by an error.
const exitFailed = 1

func (r Roles) serve(ctx context.Context, role string) error {
	child, ok := r[role]
	if !ok {
		return messages.Errorf(messages.CodeInvalidArgument, "this executable has no role %q", role)
	}
	return Serve(ctx, os.Stdin, os.Stdout, child())
}

// Serve is the work of a child process: it follows the orders of in
// and answers on out, until it is told to stop, in ends, the child is done or
// ctx ends. An end of in without an order to stop means that the parent is
// gone: it returns at once then, with an error.
func Serve(ctx context.Context, in io.Reader, out io.Writer, c Child) error {
	s := &server{child: c, out: out, profiles: &profiles{}}
	defer s.profiles.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders := make(chan order)
	go func() {
		defer close(orders)
		read(ctx, in, orders)
	}()
	var done <-chan error
	for {
		select {
		case o, ok := <-orders:
			if !ok {
				return messages.Errorf(messages.CodeUnavailable, "the parent process is gone")
			}
			stop, err := s.follow(ctx, o)
			if stop || err != nil {
				return err
			}
			if o.Do == orderStart {
				done = c.Done()
			}
		case err := <-done:
			return err
		case <-ctx.Done():
			stopCtx, stopped := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer stopped()
			return c.Stop(stopCtx)
		}
	}
}

func read(ctx context.Context, in io.Reader, orders chan<- order) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			continue
		}
		select {
		case orders <- o:
		case <-ctx.Done():
			return
		}
	}
}

type server struct {
	child    Child
	profiles *profiles

	mu  sync.Mutex
	out io.Writer
}

// follow executes one order and answers it; stop says that it was the last.
func (s *server) follow(ctx context.Context, o order) (stop bool, err error) {
	var reply any
	switch o.Do {
	case orderStart:
		if reply, err = s.child.Start(ctx, o.Body); err != nil {
			// The parent has the error; this process has nothing more to do.
			return true, errors.Join(s.answer(o.ID, nil, err), err)
		}
	case orderStop:
		err := s.child.Stop(ctx)
		return true, errors.Join(s.answer(o.ID, nil, err), err)
	case orderUsage:
		reply, err = usage()
	case orderProfile:
		err = s.profiles.start(o.Body)
	case orderHeap:
		err = heapProfile(o.Body, "allocs")
	case orderLiveHeap:
		err = heapProfile(o.Body, "heap")
	case orderMemory:
		reply, err = memory()
	case orderProfileEnd:
		err = s.profiles.stop()
	default:
		reply, err = s.child.Do(ctx, o.Do, o.Body)
	}
	return false, s.answer(o.ID, reply, err)
}

func (s *server) answer(id int64, reply any, err error) error {
	a := answer{ID: id}
	if err != nil {
		a.Code, a.Error = messages.CodeOf(err), err.Error()
		if coded := (*messages.Error)(nil); errors.As(err, &coded) {
			a.Error = coded.Message
		}
	} else if a.Body, err = json.Marshal(reply); err != nil {
		return err
	}
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.out.Write(append(line, '\n'))
	return err
}
