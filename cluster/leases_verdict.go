package cluster

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cluster/lease"
)

// What a server's leases have to do with its verdicts.

// over notes that a member's process has ended, or that it leaves.
func (l *leases) over(name string, left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[name] = now()
	if left && l.holder != nil {
		l.holder.Left(name)
	}
}

// isOver says that a member's process has ended, or that it left.
func (l *leases) isOver(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, over := l.ended[name]
	return over
}

// alive notes that a member is there.
func (l *leases) alive(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ended, name)
}

// heartbeatWritten takes the heartbeats that were read after that of this server
// was written, which was begun at a time.
func (l *leases) heartbeatWritten(began time.Time, beats []lease.Heartbeat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter != nil {
		l.granter.HeartbeatWritten(began, now(), beats)
	}
}

// cutOff: this server is cut off, or no longer.
func (l *leases) cutOff(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = is
	if l.granter != nil && is {
		l.granter.Activate(false)
	}
}

// vouch is for how long leases may last, of members that another server misses.
func (l *leases) vouch(missing []string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil {
		return 0
	}
	return l.granter.Vouch(now(), missing)
}

// silent are the servers that do not answer.
func (l *leases) silent() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.granter == nil {
		return nil
	}
	return l.granter.Silent(now())
}

// clear lets those of the members go that no lease holds back; it returns the
// others. The servers are those that this one reaches; promised is for how long
// leases last by their word.
func (l *leases) clear(names, reached []string, promised time.Duration) (held []string) {
	view := l.m.current.Load().view
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		m, _ := view.Member(name)
		_, ended := l.ended[name]
		switch {
		case m.Role != RoleWorker || ended || l.granter == nil:
		case promised > 0:
			held = append(held, name)
			continue
		case l.granter.Hold(now(), name, reached) > 0:
			held = append(held, name)
			continue
		}
		l.cleared[name] = true
	}
	return held
}

// filter puts silent workers back into the next view that may have leases: those
// that the verdict filter has not judged.
func (l *leases) filter(old *View, next []Member) []Member {
	if l.m.config.Role != RoleServer {
		return next
	}
	there := make(map[string]bool, len(next))
	for _, m := range next {
		there[m.Name] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.kept)
	least := time.Duration(0)
	for _, m := range old.Members {
		_, ended := l.ended[m.Name]
		if there[m.Name] || m.Role != RoleWorker || m.State == StateJoining || ended || l.cleared[m.Name] || l.granter == nil {
			continue
		}
		hold := l.granter.Hold(now(), m.Name, l.reached())
		if hold <= 0 {
			continue
		}
		next = append(next, m)
		l.kept[m.Name] = true
		if least == 0 || hold < least {
			least = hold
		}
	}
	clear(l.cleared)
	l.wakeIn(least)
	return next
}

// wakeIn has the view made anew after a while; 0 is not at all. Called with mu
// held.
func (l *leases) wakeIn(d time.Duration) {
	switch {
	case d <= 0 && l.again == nil:
	case d <= 0:
		l.again.Stop()
	case l.again == nil:
		l.again = time.AfterFunc(d, l.m.events.wake)
	default:
		l.again.Reset(d)
	}
}

// reached are the servers that have answered of late. Called with mu held.
func (l *leases) reached() []string {
	silent := l.granter.Silent(now())
	var out []string
	for name := range l.servers {
		if !slices.Contains(silent, name) {
			out = append(out, name)
		}
	}
	return out
}

// keeps says that a silent worker is in the view because of its lease.
func (l *leases) keeps(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept[name]
}
