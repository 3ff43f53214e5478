package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// lookRefused tries in a row of lookTries, lookPause apart, must be refused;
	// lookTime is what one may take.
	lookRefused = 2
	lookTries   = 4
	lookPause   = 75 * time.Millisecond
	lookTime    = 300 * time.Millisecond
	// lookAgain is the least time between the beginnings of two looks at one
	// member.
	lookAgain = 500 * time.Millisecond
	// lookPrefix begins the message that asks another server to look at a
	// member, leavePrefix that of a member that leaves.
	lookPrefix  = "look "
	leavePrefix = "leave "
)

// lookout finds out that a process has ended, long before memberlist does.
//
// A connection that breaks is a hint, no more. But where the system of a
// machine refuses connections to both listeners of a member, nobody listens
// there: the process has ended, for it has both open for as long as it is a
// member. One that was stopped, is slow or is cut off does not refuse: its
// system accepts, or nothing comes back. So a member that is known by a broken
// connection, and refuses twice on both ports, leaves the view at once.
//
// It is wrong where somebody else refuses in the member's name: a firewall that
// answers with resets and also resets what is open, or another machine that was
// given the address. The member is out of reach then, as a verdict of
// memberlist would find a second later. memberlist goes on probing; if it has
// come to no verdict after the longest time that it takes for one, or the
// member connects to this node, the member is back as one that had been
// declared gone. A machine that has lost its power does not refuse, and one
// that has started anew does.
//
// A server that has found out asks the other servers to look too: not all have
// a connection to each member. Nobody believes, everybody looks.
type lookout struct {
	m      *membership
	ctx    context.Context
	cancel context.CancelFunc
	going  sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	// looked is when a look at a member began, while that counts.
	looked map[string]time.Time
}

func newLookout(m *membership) *lookout {
	l := &lookout{m: m, looked: map[string]time.Time{}}
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

// broken says that a connection to or from a member has broken: the one of the
// name or, without one, the one with that address of its actors.
func (l *lookout) broken(name, address string) {
	for _, m := range l.m.current.Load().view.Members {
		if m.Name == name || name == "" && m.Address == address {
			l.look(m, true)
		}
	}
}

// doomed looks at a member that memberlist has found dead: if its process has
// ended, nothing is to be waited for.
func (l *lookout) doomed(name string) {
	if m, ok := l.m.current.Load().view.Member(name); ok {
		l.look(m, false)
	}
}

// asked takes the message of another member.
func (l *lookout) asked(message []byte) {
	if name, ok := strings.CutPrefix(string(message), leavePrefix); ok {
		l.m.events.expect(name)
		return
	}
	name, ok := strings.CutPrefix(string(message), lookPrefix)
	if !ok {
		return
	}
	if m, ok := l.m.current.Load().view.Member(name); ok {
		l.look(m, false)
	}
}

// look does not wait. The first to find out tells others.
func (l *lookout) look(m Member, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.stopped || m.Name == l.m.Self().Name || now.Sub(l.looked[m.Name]) < lookAgain {
		return
	}
	for name, at := range l.looked {
		if now.Sub(at) >= lookAgain {
			delete(l.looked, name)
		}
	}
	l.looked[m.Name] = now
	l.going.Go(func() {
		if !l.hasEnded(m) || !l.m.events.bury(m.Name) {
			return
		}
		l.m.config.Logger.Info("the process of a member has ended: connections to it are refused", "member", m.Name)
		if tell && l.m.Self().Role == RoleServer {
			l.tell(m)
		}
		l.doubt(m)
	})
}

// hasEnded says whether nobody listens where the member did. A process that is
// ending closes what it has open one by one, so one that still accepts is looked
// at again.
func (l *lookout) hasEnded(m Member) bool {
	refused := 0
	for range lookTries {
		if l.refuses(m.Address) && l.refuses(m.GossipAddress) {
			if refused++; refused == lookRefused {
				return true
			}
		} else {
			refused = 0
		}
		if !sleep(l.ctx, lookPause) {
			return false
		}
	}
	return false
}

func (l *lookout) refuses(address string) bool {
	ctx, cancel := context.WithTimeout(l.ctx, lookTime)
	defer cancel()
	conn, err := l.m.config.Dial(ctx, address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// tell asks the other servers to look.
func (l *lookout) tell(gone Member) {
	for _, m := range l.m.current.Load().view.Members {
		if m.Role == RoleServer && m.Name != gone.Name && m.Name != l.m.Self().Name {
			l.m.packet(m, lookPrefix+gone.Name)
		}
	}
}

// sayLeaving tells everybody that this node leaves, so that nobody waits for it
// to refute the news. Who misses it waits a moment longer.
func (l *lookout) sayLeaving() {
	self := l.m.Self().Name
	heard, _, _ := l.m.heardMembers()
	for _, m := range heard {
		if m.Name != self {
			l.m.packet(m, leavePrefix+self)
		}
	}
}

// doubt brings the member back if memberlist has not found it dead by the time
// that it must have.
func (l *lookout) doubt(m Member) {
	p := l.m.config.Preset
	members := len(l.m.current.Load().view.Members) + 1
	longest := time.Duration(p.SuspicionMaxTimeoutMult)*p.Suspicion(members) +
		time.Duration(p.AwarenessMaxMultiplier*members)*p.ProbeInterval
	if sleep(l.ctx, longest) && l.m.events.dig(m.Name) {
		l.m.config.Logger.Warn("a member that was taken for ended lives", "member", m.Name)
	}
}

// expect notes that a member leaves.
func (e *events) expect(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d, dying := e.dying[name]; dying {
		d.timer.Stop()
		e.over(name, true)
		e.leave(name)
	} else if _, live := e.live[name]; live {
		e.over(name, true)
		e.leaving[name] = struct{}{}
	}
}

// bury takes a member out whose process has ended; false if it is out. If
// memberlist has not found it dead yet it may be dug out again.
func (e *events) bury(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, live := e.live[name]
	if !live {
		return false
	}
	if d, dying := e.dying[name]; dying {
		d.timer.Stop()
	} else {
		e.buried[name] = h
		e.anyBuried.Store(true)
	}
	e.over(name, false)
	e.leave(name)
	return true
}

// forgetBuried is called with mu held.
func (e *events) forgetBuried(name string) {
	delete(e.buried, name)
	e.anyBuried.Store(len(e.buried) > 0)
}

// dig brings a buried member back, as another appearance; false if memberlist
// has found it dead meanwhile.
func (e *events) dig(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.buried[name]
	if !ok {
		return false
	}
	e.forgetBuried(name)
	delete(e.gone, name)
	e.appearances++
	h.appearance, h.returned = e.appearances, true
	e.live[name] = h
	e.back(name)
	e.wake()
	return true
}
