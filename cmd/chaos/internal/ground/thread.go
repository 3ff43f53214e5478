package ground

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
)

var errClosed = errors.New("the ground is closed")

// thread is one thread of the system that all processes are started from. The
// kernel's signal to the children of a dead parent really is one for a dead
// parent thread, and Go ends threads as it likes; and a child is born into the
// namespace that the thread is in.
type thread struct {
	jobs   chan func()
	closed chan struct{}
	once   sync.Once
}

func newThread() *thread {
	t := &thread{jobs: make(chan func()), closed: make(chan struct{})}
	go func() {
		// Never unlocked: the thread ends with the goroutine, and its
		// namespace does not leak to others.
		runtime.LockOSThread()
		for {
			select {
			case job := <-t.jobs:
				job()
			case <-t.closed:
				return
			}
		}
	}()
	return t
}

// do executes f on the thread.
func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case t.jobs <- func() { done <- f() }:
		return <-done
	case <-t.closed:
		return errClosed
	}
}

// close ends the thread, and by that the children that are left.
func (t *thread) close() { t.once.Do(func() { close(t.closed) }) }

// start starts a process in the namespace that the thread is in. What else cmd
// says of its attributes stays.
func (t *thread) start(cmd *exec.Cmd) error {
	bindToParent(cmd)
	return cmd.Start()
}
