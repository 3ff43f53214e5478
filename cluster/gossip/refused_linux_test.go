package gossip

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/remote"
)

// lookoutBy looks by a function.
func lookoutBy(t *testing.T, dial func(context.Context, string) (net.Conn, error)) *lookout {
	l := newLookout(&Gossip{config: Config{Refused: func(ctx context.Context, address string) bool { return remote.Refused(ctx, dial, address) }}})
	t.Cleanup(l.stop)
	return l
}

// What keeps this process from connecting says nothing of the other one.
func TestOwnTroubleIsNotTakenForRefusal(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.ECONNREFUSED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EADDRNOTAVAIL, syscall.EPERM, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ETIMEDOUT, syscall.ECONNRESET} {
		l := lookoutBy(t, func(context.Context, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", cause)}
		})
		if got, want := l.refuses("10.0.0.1:1"), cause == syscall.ECONNREFUSED; got != want {
			t.Errorf("%v: refused %v, want %v", cause, got, want)
		}
	}
}

// A process that does not get to accepting lets connections wait, and then
// nothing comes back: it does not refuse.
func TestFullQueueOfConnectionsIsNoRefusal(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceFunc(func() { _ = syscall.Close(fd) })
	defer shut()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	full := false
	for i := 0; i < 20 && !full; i++ {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if full = err != nil; !full {
			defer func() { _ = conn.Close() }()
		}
	}
	if !full {
		t.Fatal("the queue does not fill")
	}
	l := lookoutBy(t, func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	})
	if l.refuses(address) {
		t.Error("a process that lives is taken for one that has ended")
	}
	shut()
	if !l.refuses(address) {
		t.Error("a process that has ended is taken for one that lives")
	}
}
