package ground

import (
	"fmt"
	"net"
	"os/exec"
)

// Ports of a node that has an address of its own.
const (
	portAPI    = 7080
	portActors = 7081
	portGossip = 7946
)

// site is where a node is.
type site struct {
	// api, actors and gossip are host:port to listen at.
	api, actors, gossip string
	// host is the node's address.
	host string
}

func siteAt(host string, api, actors, gossip int) site {
	at := func(port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
	return site{host: host, api: at(api), actors: at(actors), gossip: at(gossip)}
}

// drop is packets that do not get through between nodes.
type drop struct {
	// from and to are ids; empty is any node.
	from, to string
	// percent of the packets; 0 is all.
	percent int
}

// network connects nodes. Its methods are called one at a time.
type network interface {
	// add makes a site for a node.
	add(id string) (site, error)
	// start starts a process at the site of a node.
	start(id string, cmd *exec.Cmd) error
	// wrap makes commands that are executed at the site of a node; nil if that
	// takes nothing.
	wrap(id string) func(name string, args ...string) *exec.Cmd
	// drop lets these packets, and only these, not get through.
	drop(drops []drop) error
	// cuts says whether drop is possible.
	cuts() bool
	close()
}

// loopback is a network without cuts.
type loopback struct {
	thread *thread
	port   int
}

// The ports of nodes on loopback are below those that systems give to outgoing
// connections, so that a node that is restarted finds its own free.
const firstPort, lastPort, portsOfNode = 17000, 29990, 3

func newLoopback(t *thread, start int) network {
	return &loopback{thread: t, port: firstPort + start%(lastPort-firstPort)}
}

func (l *loopback) add(string) (site, error) {
	for range lastPort - firstPort {
		l.port += portsOfNode
		if l.port > lastPort {
			l.port = firstPort
		}
		if free(l.port) && free(l.port+1) && free(l.port+2) {
			return siteAt("127.0.0.1", l.port, l.port+1, l.port+2), nil
		}
	}
	return site{}, fmt.Errorf("no free ports on loopback from %d to %d", firstPort, lastPort)
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func (l *loopback) start(_ string, cmd *exec.Cmd) error {
	return l.thread.do(func() error { return l.thread.start(cmd) })
}

func (l *loopback) wrap(string) func(string, ...string) *exec.Cmd { return nil }

func (l *loopback) drop(drops []drop) error {
	if len(drops) > 0 {
		return fmt.Errorf("nodes on loopback cannot be cut off")
	}
	return nil
}

func (l *loopback) cuts() bool { return false }
func (l *loopback) close()     {}
