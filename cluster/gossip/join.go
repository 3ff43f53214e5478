package gossip

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cluster/inquire"
	"github.com/limpetrun/limpet/messages"
)

// How often a node that has seeds contacts them again: a partition that lasted
// longer than memberlist remembers the dead heals by this alone.
const (
	rejoinInterval      = 10 * time.Second
	rejoinIntervalAlone = 200 * time.Millisecond
	rejoinAloneMost     = 2 * time.Second
	// sayAgainAfter is how long a cause is not said again that keeps from joining.
	sayAgainAfter = time.Minute
	lostMax       = 16
	lostAge       = 24 * time.Hour
)

// Join contacts the seeds until joined says that this node has joined, given
// whether one of them answered. JOIN_FAILED when ctx ends, STORE_MISMATCH when one of
// them is of another store.
func (g *Gossip) Join(ctx context.Context, joined func(answered bool) bool) error {
	if len(g.config.Seeds) == 0 {
		return nil
	}
	wait := backoff.Pauses{First: 100 * time.Millisecond, Most: 2 * time.Second}
	said, saidAt := "", time.Time{}
	for {
		cause := g.contact(ctx, g.config.Seeds)
		if err := g.mustEnd(); err != nil {
			return err
		}
		if joined(cause == "") {
			return nil
		}
		if ctx.Err() != nil && said != "" {
			cause = said // the look at what is there was cut short
		}
		if cause != said || time.Since(saidAt) >= sayAgainAfter {
			g.config.Logger.Warn("join " + cause + "; trying again")
			said, saidAt = cause, time.Now()
		}
		if backoff.Sleep(ctx, wait.Next()) != nil {
			return messages.Errorf(messages.CodeJoinFailed, "join %s", cause)
		}
	}
}

// contact returns why none of the addresses answered: "" if one did. It asks all
// at once: one that is out of reach keeps who asks waiting for a whole timeout.
func (g *Gossip) contact(ctx context.Context, addresses []string) string {
	causes := make([]string, len(addresses))
	var asked sync.WaitGroup
	for i, address := range addresses {
		asked.Go(func() {
			if _, err := g.list.Join([]string{address}); err != nil {
				causes[i] = address + ": " + g.rootCause(ctx, address, err)
			}
		})
	}
	asked.Wait()
	if slices.Contains(causes, "") {
		return ""
	}
	return strings.Join(causes, "; ")
}

// rootCause shortens memberlist's error, which is text around text, to what
// the user can do something about.
func (g *Gossip) rootCause(ctx context.Context, address string, err error) string {
	s := strings.TrimSpace(err.Error())
	for _, known := range []string{"connection refused", "i/o timeout", "no such host", "no route to host", "network is unreachable"} {
		if strings.Contains(s, known) {
			return known
		}
	}
	if what := notGossip[inquire.At(ctx, g.config.Dial, address)]; what != "" {
		return what + "; join the address of a server's gossip, which `limpet server` prints; its port is 7946 if nothing is said"
	}
	if i := strings.LastIndex(s, "failed to "); i >= 0 {
		s = s[i:]
	}
	const reset = "connection reset by peer"
	if strings.Contains(s, reset) {
		s = reset // without ports that are others each time
	}
	if s == reset || strings.Contains(s, "EOF") || strings.Contains(s, "decrypt") || strings.Contains(s, "encrypt") {
		s = "it answers but does not understand: is the secret the same? (" + s + ")"
	}
	return s
}

// notGossip are listeners that are something else for sure.
var notGossip = map[inquire.Listener]string{
	inquire.API:     "the API of a limpet server is there",
	inquire.Web:     "a web server is there",
	inquire.TLS:     "a server that speaks TLS is there",
	inquire.Cluster: "it is the address by which servers and workers talk to each other",
}

// Company is what the rejoining goes by.
type Company interface {
	// Lonely says that no other server is in view or that this one is cut off, and
	// returns a channel that is closed when that may have changed.
	Lonely() (lonely bool, changed <-chan struct{})
	// Unreached are servers that may live and are not heard of, with the addresses
	// of their gossip.
	Unreached() map[string]string
}

// KeepJoined contacts the seeds, and servers that were lost, until ctx ends: seldom
// while all is well, often while this node is lonely. It makes the visits.
func (g *Gossip) KeepJoined(ctx context.Context, c Company) {
	last := time.Now()
	alone := aloneFor(rejoinIntervalAlone)
	for {
		lonely, changed := c.Lonely()
		interval := rejoinInterval
		if lonely {
			interval = time.Duration(alone)
		}
		t := time.NewTimer(interval - time.Since(last))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-changed:
			t.Stop()
			continue
		case address := <-g.visits:
			t.Stop()
			if cause := g.contact(ctx, []string{address}); cause != "" {
				g.config.Logger.Debug("visit " + cause)
			}
			continue
		case <-t.C:
		}
		last = time.Now()
		alone = alone.next(g.rejoin(ctx, c.Unreached(), lonely))
		g.among(lonely)
	}
}

// aloneFor is how long a lonely node waits before it contacts its seeds again. It
// waits the longer the more often one has answered: who answers and is not in view
// has enough to do.
type aloneFor time.Duration

func (a aloneFor) next(answered bool) aloneFor {
	if !answered {
		return aloneFor(rejoinIntervalAlone)
	}
	return min(2*a, aloneFor(rejoinAloneMost))
}

// rejoin contacts the seeds and the servers that are not reached at the same time:
// who does not answer takes a whole timeout. A worker leaves out the seeds that it
// hears: all that they know would be sent to each worker again and again. It returns
// whether a seed answered.
func (g *Gossip) rejoin(ctx context.Context, unreached map[string]string, lonely bool) (answered bool) {
	var seeds sync.WaitGroup
	seeds.Go(func() {
		self := g.Self()
		known := map[string]bool{self.GossipAddress: true}
		if self.Role == RoleWorker && !lonely {
			for _, m := range g.Members() {
				known[m.GossipAddress] = true
			}
		}
		others := slices.DeleteFunc(slices.Clone(g.config.Seeds), func(seed string) bool { return known[seed] })
		cause := g.contact(ctx, others)
		if answered = cause == "" && len(others) > 0; !answered {
			g.config.Logger.Debug("rejoin " + cause)
		}
	})
	g.ContactLost(ctx, unreached)
	seeds.Wait()
	return answered
}

// Introduce exchanges all news with a process of which this node has not heard, if
// one of those members has its name, or its id and address: it was started anew
// there. Another process may be of another cluster. It does not wait.
func (g *Gossip) Introduce(name, address string, members []Member) {
	id, _, _ := strings.Cut(name, "~")
	i := slices.IndexFunc(members, func(m Member) bool {
		return m.Name == name || m.WorkerID == id && m.Address == address
	})
	if i >= 0 {
		g.Visit(members[i].GossipAddress)
	}
}

// Visit exchanges all news with the member at an address of its gossip. It does not
// wait.
func (g *Gossip) Visit(gossipAddress string) {
	select {
	case g.visits <- gossipAddress:
	default:
	}
}

// lostServers are servers that left the view, the last lostMax for at most lostAge:
// when the only seed is gone for good, they are the way back into the cluster
// after a partition.
type lostServers struct {
	mu     sync.Mutex
	byName map[string]lostServer
}

// lostServer was in the view until a time.
type lostServer struct {
	address string
	at      time.Time
}

// ViewChanged takes the members that are in the view now, and those that were
// before.
func (g *Gossip) ViewChanged(now, before []Member) { g.lost.viewChanged(now, before) }

func (l *lostServers) viewChanged(now, before []Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]bool{}
	for _, m := range now {
		there[m.Name] = true
		delete(l.byName, m.Name)
	}
	for _, m := range before {
		if there[m.Name] || m.Role != RoleServer {
			continue
		}
		if l.byName == nil {
			l.byName = map[string]lostServer{}
		}
		l.byName[m.Name] = lostServer{m.GossipAddress, time.Now()}
		l.dropOldest()
	}
}

// dropOldest keeps to lostMax: who was lost last is the likeliest to live.
func (l *lostServers) dropOldest() {
	if len(l.byName) <= lostMax {
		return
	}
	oldest := slices.MinFunc(slices.Collect(maps.Keys(l.byName)), func(a, b string) int {
		return l.byName[a].at.Compare(l.byName[b].at)
	})
	delete(l.byName, oldest)
}

// addresses by the name of the server.
func (l *lostServers) addresses() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]string{}
	for name, s := range l.byName {
		if time.Since(s.at) > lostAge {
			delete(l.byName, name)
			continue
		}
		out[name] = s.address
	}
	return out
}

// ContactLost joins the servers that left the view, and those besides, that
// answer. A ping carries the name of who is meant, so another process at the
// address, which may be of another cluster, does not answer.
func (g *Gossip) ContactLost(ctx context.Context, besides map[string]string) {
	lost := g.lost.addresses()
	maps.Copy(lost, besides)
	var asked sync.WaitGroup
	for name, gossipAddress := range lost {
		asked.Go(func() {
			address, err := net.ResolveUDPAddr("udp", gossipAddress)
			if err != nil {
				return
			}
			if _, err := g.list.Ping(name, address); err != nil {
				return
			}
			if cause := g.contact(ctx, []string{gossipAddress}); cause != "" {
				g.config.Logger.Debug("rejoin " + cause)
			}
		})
	}
	asked.Wait()
}
