package gossip

import (
	"context"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
)

const (
	// lookRefused tries in a row of lookTries, of lookTriesAgain at a member that was
	// looked at of late, lookPause apart, must be refused; LookFor is what one may take.
	lookRefused    = 2
	lookTries      = 4
	lookTriesAgain = 2
	lookPause      = 75 * time.Millisecond
	LookFor        = 300 * time.Millisecond
	// lookAgain is the least time between the beginnings of two looks at one member.
	// It doubles with each, up to lookAgainMost, and is as at first when lookForget has
	// passed without a look.
	lookAgain     = 500 * time.Millisecond
	lookAgainMost = 4 * time.Second
	lookForget    = 10 * time.Second
	// lookPrefix begins the packet that asks another server to look at a
	// member, leavePrefix that of a member that leaves.
	lookPrefix  = "look "
	leavePrefix = "leave "
)

// lookout finds out that a process has ended, long before memberlist does. A look
// at a member is a try to connect to both of its ports.
//
// A connection that breaks is a hint, no more. But where the system of a machine
// refuses connections to both listeners of a member, nobody listens there. The
// process has ended then, for it has both open for as long as it is a member. One
// that was stopped, is slow or is cut off does not refuse: its system accepts, or
// nothing comes back. So a member whose connection breaks, and which refuses twice
// on both ports, is marked dead at once.
//
// A look is wrong where somebody else refuses in the member's name: a firewall
// that answers with resets and also resets what is open, or another machine that
// was given the address. The member is out of reach then, as a verdict of
// memberlist would find a second later. It is revived by M3. A machine that has
// lost its power does not refuse, and one that has started anew does.
//
// A server that has found out asks the other servers to look too: not all have a
// connection to each member. Nobody believes, everybody looks.
type lookout struct {
	g      *Gossip
	ctx    context.Context
	cancel context.CancelFunc
	going  sync.WaitGroup

	// looked are the last looks at members, while they count. Nothing is called out of
	// while mu is held.
	mu      sync.Mutex
	stopped bool
	looked  map[string]*look
}

// look is the last one at a member: when it began or is to begin, how long after that
// the next one may, and whether it is still to begin.
type look struct {
	at    time.Time
	pause time.Duration
	waits bool
}

func newLookout(g *Gossip) *lookout {
	l := &lookout{g: g, looked: map[string]*look{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// stop waits for looks that are under way.
func (l *lookout) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.cancel()
	l.going.Wait()
}

// Broke says that a connection to or from a member has broken: the one of the name
// or, without one, the one with that address of its actors. It does not wait.
func (g *Gossip) Broke(name, address string) {
	for _, m := range g.Members() {
		if m.Name == name || name == "" && m.Address == address {
			g.lookout.look(m, true)
		}
	}
}

// Look has it found out whether the process of a member has ended. It does not
// wait.
func (g *Gossip) Look(name string) { g.lookout.at(name) }

func (l *lookout) at(name string) {
	if m, live := l.g.table.member(name); live {
		l.look(m, false)
	}
}

// look does not wait. The first to find out tells others.
func (l *lookout) look(m Member, tell bool) {
	if m.Name == l.g.Self().Name {
		return
	}
	wait, tries := l.begin(m.Name)
	if tries == 0 {
		return
	}
	go func() {
		defer l.going.Done()
		if backoff.Sleep(l.ctx, wait) != nil {
			return
		}
		l.begun(m.Name)
		if !l.g.table.isLive(m.Name) || !l.hasEnded(m, tries) || !l.g.table.markDead(m.Name) {
			return
		}
		l.g.config.Logger.Info("the process of a member has ended: connections to it are refused", "member", m.Name)
		if tell && l.g.Self().Role == RoleServer {
			l.g.AskToLook(m.Name)
		}
		l.reviveInTime(m.Name)
	}()
}

// begin notes that a look is to begin after a while, with so many tries; 0 if one is to
// begin already, or none is to. It counts it among those that are going. A member that
// is looked at again and again has much to do: each try is a connection that it has to
// accept, so the looks become seldomer and shorter.
func (l *lookout) begin(name string) (wait time.Duration, tries int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for other, last := range l.looked {
		if now.Sub(last.at) >= lookForget {
			delete(l.looked, other)
		}
	}
	last := l.looked[name]
	switch {
	case l.stopped || last != nil && last.waits:
		return 0, 0
	case last == nil:
		last = &look{at: now, pause: lookAgain}
		l.looked[name], tries = last, lookTries
	default:
		last.at = later(now, last.at.Add(last.pause))
		last.pause, tries = min(2*last.pause, lookAgainMost), lookTriesAgain
	}
	last.waits = true
	l.going.Add(1)
	return last.at.Sub(now), tries
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// begun notes that a look has begun.
func (l *lookout) begun(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.looked[name]; last != nil {
		last.waits = false
	}
}

// hasEnded says whether nobody listens where the member did. A process that is
// ending closes what it has open one by one, so one that still accepts is looked
// at again.
func (l *lookout) hasEnded(m Member, tries int) bool {
	refused := 0
	for range tries {
		if l.refuses(m.Address) && l.refuses(m.GossipAddress) {
			if refused++; refused == lookRefused {
				return true
			}
		} else {
			refused = 0
		}
		if backoff.Sleep(l.ctx, lookPause) != nil {
			return false
		}
	}
	return false
}

func (l *lookout) refuses(address string) bool {
	ctx, cancel := context.WithTimeout(l.ctx, LookFor)
	defer cancel()
	return l.g.config.Refused(ctx, address)
}

// AskToLook asks the other servers to look at a member.
func (g *Gossip) AskToLook(name string) { g.toOtherServers(name, lookPrefix+name) }

// toOtherServers sends a packet about a member to all servers that are not it.
func (g *Gossip) toOtherServers(about, packet string) {
	for _, m := range g.Members() {
		if m.Role == RoleServer && m.Name != about && m.Name != g.Self().Name {
			g.Packet(m.Name, m.GossipAddress, []byte(packet))
		}
	}
}

// reviveInTime revives the member if memberlist has not found it dead by the time
// that it must have.
func (l *lookout) reviveInTime(name string) {
	p := l.g.config.Preset
	members := len(l.g.Members()) + 1
	longest := time.Duration(p.SuspicionMaxTimeoutMult)*p.Suspicion(members) +
		time.Duration(p.AwarenessMaxMultiplier*members)*p.ProbeInterval
	if backoff.Sleep(l.ctx, longest) == nil && l.g.table.revive(name) {
		l.g.config.Logger.Warn("a member that was taken for ended lives", "member", name)
	}
}

// Met says that a process has connected to this one, or sends something: one that
// was marked dead lives. It is quick.
func (g *Gossip) Met(name string) {
	if g.table.anyDead.Load() && g.table.revive(name) {
		g.config.Logger.Warn("a member that was taken for ended is heard", "member", name)
	}
}
