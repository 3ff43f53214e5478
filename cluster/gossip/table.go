package gossip

import (
	"sync"
	"sync/atomic"
	"time"
)

// table is who lives, by memberlist's word and by the looks of this node. Its
// methods call nobody, so its lock is always the innermost; what others are to be
// told waits in news.
type table struct {
	// changed has something when there may be something to take.
	changed chan struct{}

	mu   sync.Mutex
	live map[string]entry
	// appearances counts all of them.
	appearances int
	// gone are names that are gone, at most goneMax, and whether they had said that
	// they leave.
	gone map[string]bool
	// dead are members that were marked dead, and that memberlist still holds for
	// alive.
	dead    map[string]entry
	anyDead atomic.Bool // len(dead) > 0, for those who ask with each message
	// suspects are members that memberlist has declared dead, and that have time to
	// refute it; they are still live. leaving have said that they leave: they have
	// nothing to refute.
	suspects map[string]*suspect
	leaving  map[string]struct{}
	news     []News
}

// entry is a member as it was heard of last.
type entry struct {
	member Member
	// unreadable is why the member cannot be shown.
	unreadable error
	appearance int
	// returned: the name had been declared gone here.
	returned bool
	// silent: it was marked dead because nothing was heard from it (M6).
	silent bool
}

// suspect is a member that has been declared dead a moment ago.
type suspect struct {
	since time.Time
	timer *time.Timer
	// heard: the member itself was, since then.
	heard bool
}

// News is something that happened to a member.
type News struct {
	Name string
	What Happening
	// Address of the member's actors, for Appeared if memberlist heard of it.
	Address string
	// Error says why the member cannot be read, for Unreadable.
	Error error
}

// Happening is what happened to a member.
type Happening uint8

const (
	// Appeared: the member is there, or is there again.
	Appeared Happening = iota
	// Ended: its process has ended.
	Ended
	// Left: it says that it leaves.
	Left
	// Suspected: memberlist has declared it dead.
	Suspected
	// Unreadable: what it says of itself cannot be read, so it is left out.
	Unreadable
)

func newTable() *table {
	return &table{changed: make(chan struct{}, 1), live: map[string]entry{}, gone: map[string]bool{}, dead: map[string]entry{},
		suspects: map[string]*suspect{}, leaving: map[string]struct{}{}}
}

// wake says that there is something to take.
func (t *table) wake() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// take returns the members, and the news since the last take.
func (t *table) take() (news []News, members []Member, returned []Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news, t.news = t.news, nil
	for _, e := range t.live {
		if e.unreadable != nil {
			continue
		}
		members = append(members, e.member)
		if e.returned {
			returned = append(returned, e.member)
		}
	}
	return news, members, returned
}

func (t *table) members() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	members := make([]Member, 0, len(t.live))
	for _, e := range t.live {
		if e.unreadable == nil {
			members = append(members, e.member)
		}
	}
	return members
}

// hear makes an entry. Called with mu held, like all that follows with a small
// letter and no lock of its own.
func (t *table) hear(name, address string, meta []byte, appearance int) entry {
	m, err := decodeMember(name, appearance, address, meta)
	if err != nil {
		t.news = append(t.news, News{Name: name, What: Unreadable, Error: err})
	}
	return entry{member: m, unreadable: err, appearance: appearance}
}

// joined takes in that a member is there. A suspect that is heard has refuted that
// it is dead (M2). Any other return of a name is an appearance of its own, also
// when its leaving and its return are taken at once: the library's member list
// never again accepts a member id that left.
func (t *table) joined(name, address string, meta []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.wake()
	if s, refuted := t.suspects[name]; refuted {
		s.timer.Stop()
		delete(t.suspects, name)
		t.renew(name, address, meta)
		return
	}
	t.appearances++
	e := t.hear(name, address, meta, t.appearances)
	_, e.returned = t.gone[name]
	delete(t.gone, name)
	t.forgetDead(name)
	t.live[name] = e
	t.news = append(t.news, News{Name: name, What: Appeared, Address: e.member.Address})
}

// renew takes in what a live member says of itself now.
func (t *table) renew(name, address string, meta []byte) {
	old := t.live[name]
	e := t.hear(name, address, meta, old.appearance)
	e.returned = old.returned
	t.live[name] = e
}

// updated takes in that a member says something else of itself.
func (t *table) updated(name, address string, meta []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, dead := t.dead[name]; dead {
		said := t.hear(name, address, meta, e.appearance)
		said.silent = e.silent
		t.dead[name] = said
		return
	}
	t.renew(name, address, meta)
	t.wake()
}

// declaredDead takes in memberlist's verdict. due is how long the member has to
// refute it, now and when the time has passed: if this process was kept waiting
// meanwhile, so may have been the member.
func (t *table) declaredDead(name string, due func() time.Duration) {
	first := due()
	t.mu.Lock()
	defer t.mu.Unlock()
	e, live := t.live[name]
	_, leaving := t.leaving[name]
	delete(t.leaving, name)
	t.forgetDead(name)
	if !live || leaving || first <= 0 || e.unreadable != nil || !e.member.refutes() {
		t.leave(name, leaving)
		return
	}
	s := &suspect{since: time.Now()}
	s.timer = time.AfterFunc(first, func() { t.expire(name, s, due()) })
	t.suspects[name] = s
	t.news = append(t.news, News{Name: name, What: Suspected})
	t.wake()
}

// expire takes a suspect out that has not refuted that it is dead.
func (t *table) expire(name string, s *suspect, due time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.suspects[name] != s {
		return
	}
	if s.heard {
		s.heard, s.since = false, time.Now()
		s.timer.Reset(due)
		return
	}
	if left := due - time.Since(s.since); left > 0 {
		s.timer.Reset(left)
		return
	}
	t.leave(name, false)
}

// leave takes a member out. It had said that it leaves, in so many words or by the
// state that it showed last.
func (t *table) leave(name string, said bool) {
	said = said || t.live[name].member.State == StateLeaving
	delete(t.live, name)
	delete(t.suspects, name)
	for old := range t.gone {
		if len(t.gone) < goneMax {
			break
		}
		delete(t.gone, old)
	}
	t.gone[name] = said
	t.wake()
}

// saidLeaving says whether a member that is gone had said that it leaves.
func (t *table) saidLeaving(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone[name]
}

// expectLeaving takes in that a member says that it leaves.
func (t *table) expectLeaving(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, suspected := t.suspects[name]
	_, live := t.live[name]
	if !suspected && !live {
		return
	}
	t.news = append(t.news, News{Name: name, What: Left})
	if suspected {
		s.timer.Stop()
		t.leave(name, true)
		return
	}
	t.leaving[name] = struct{}{}
	t.wake()
}

// markDead takes a member out whose process has ended; false if it is out. If
// memberlist has not found it dead yet it may be revived.
func (t *table) markDead(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.takeOut(name, false) {
		return false
	}
	t.news = append(t.news, News{Name: name, What: Ended})
	return true
}

// markSilent takes a worker out from which nothing is heard; false if it is out.
func (t *table) markSilent(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeOut(name, true)
}

// takeOut marks a member dead.
func (t *table) takeOut(name string, silent bool) bool {
	e, live := t.live[name]
	if !live {
		return false
	}
	if s, suspected := t.suspects[name]; suspected {
		s.timer.Stop()
	} else {
		e.silent = silent
		t.dead[name] = e
		t.anyDead.Store(true)
	}
	_, leaving := t.leaving[name]
	t.leave(name, leaving)
	return true
}

// heard takes in that a member itself was heard, beside memberlist, and whether it
// hears this node: then it refutes a verdict. It returns whether the member has to make
// itself known: it is called dead or silent, or is not known.
func (t *table) heard(name string, hears bool) (unknown bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, suspected := t.suspects[name]; suspected {
		s.heard = s.heard || hears
		return true
	}
	_, live := t.live[name]
	e, marked := t.dead[name]
	return !live && (!marked || e.silent)
}

// isHere takes in that a member has heard that it is not known here. One that was
// silent is back.
func (t *table) isHere(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead[name].silent {
		t.bringBack(name)
	}
}

func (t *table) forgetDead(name string) {
	delete(t.dead, name)
	t.anyDead.Store(len(t.dead) > 0)
}

// revive brings a member back that was marked dead, as another appearance; false
// if memberlist has found it dead meanwhile.
func (t *table) revive(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.dead[name]; !ok {
		return false
	}
	t.bringBack(name)
	return true
}

// bringBack makes a member live that was marked dead.
func (t *table) bringBack(name string) {
	e := t.dead[name]
	t.forgetDead(name)
	delete(t.gone, name)
	t.appearances++
	e.appearance, e.returned, e.silent = t.appearances, true, false
	e.member.ID = appearanceID(name, e.appearance)
	t.live[name] = e
	t.news = append(t.news, News{Name: name, What: Appeared})
	t.wake()
}

// isLive says whether a member is live, suspects included.
func (t *table) isLive(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, live := t.live[name]
	return live
}

// serves says whether a member is live and serves: nothing has to be taken from one
// that joins, and many that join at once keep each other waiting.
func (t *table) serves(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, live := t.live[name]
	return live && e.member.refutes()
}

// isWell says whether a member is live and nobody says otherwise.
func (t *table) isWell(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, live := t.live[name]
	_, suspected := t.suspects[name]
	return live && !suspected
}

// member returns a live member.
func (t *table) member(name string) (Member, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, live := t.live[name]
	return e.member, live && e.unreadable == nil
}
