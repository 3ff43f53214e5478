package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/quorum"
	"github.com/limpetrun/limpet/messages"
)

// verdictFilter holds members in the view of a server that memberlist calls gone,
// until package quorum says that they are. It asks members and the store what the
// rules want to know. A nil one lets everybody go.
type verdictFilter struct {
	m          *members
	heartbeats Heartbeats
	poller     poller
	// heard are the members that memberlist tells of.
	heard  func() []Member
	signal chan struct{}

	// rules decide. Nothing is called out of while mu is held. Rounds are made by
	// one goroutine.
	mu    sync.Mutex
	rules *quorum.Filter
}

func newVerdictFilter(m *members, heartbeats Heartbeats, p poller) *verdictFilter {
	return &verdictFilter{m: m, heartbeats: heartbeats, poller: p, heard: m.gossip.Members, signal: make(chan struct{}, 1), rules: quorum.New(m.gossip.Self().Name)}
}

// filter returns the members of the next view: those that were heard of, and
// those of the last one that are held.
func (f *verdictFilter) filter(old *View, heard []Member) []Member {
	if f == nil {
		return heard
	}
	self := f.m.gossip.Self().Name
	there := map[string]bool{self: true}
	for _, m := range heard {
		there[m.Name] = true
	}
	missed := slices.DeleteFunc(slices.Clone(old.Members), func(m Member) bool { return there[m.Name] })
	// Also one that joins or leaves: it may have given leases.
	others := slices.ContainsFunc(old.Members, func(m Member) bool { return m.Role == RoleServer && m.Name != self })
	asked := f.quorumMembers(missed)
	f.mu.Lock()
	held, due := f.rules.Hold(asked, others)
	f.mu.Unlock()
	if due {
		f.kick()
	}
	return append(heard, slices.DeleteFunc(missed, func(m Member) bool { return !slices.Contains(held, m.Name) })...)
}

// quorumMembers are members as the rules want to know them.
func (f *verdictFilter) quorumMembers(members []Member) []quorum.Member {
	out := make([]quorum.Member, len(members))
	for i, m := range members {
		// A worker acts until it has said that it has ended, whatever its state.
		loss := m.State == StateReady
		if m.Role == RoleWorker {
			loss = m.State != StateJoining && !f.m.leases.table.isOver(m.Name)
		}
		out[i] = quorum.Member{Name: m.Name, Server: m.Role == RoleServer, Address: m.GossipAddress, Loss: loss}
	}
	return out
}

// unreached are the servers that are not heard of and may live, and where they
// gossip.
func (f *verdictFilter) unreached() map[string]string {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules.Unreached()
}

// kick asks for a round soon.
func (f *verdictFilter) kick() {
	if f == nil {
		return
	}
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// recheck notes that others may have declared this server gone.
func (f *verdictFilter) recheck() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.rules.Recheck()
	f.mu.Unlock()
	f.kick()
}

func (f *verdictFilter) isCutOff() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules.CutOff()
}

// hasStore answers a server that does not reach the store.
func (f *verdictFilter) hasStore() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules.HasStore(time.Now())
}

func (f *verdictFilter) loop(ctx context.Context) {
	if f == nil {
		return
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.signal:
		case <-t.C:
		}
		t.Reset(f.round(ctx))
	}
}

// first makes the rounds that a server needs before it is ready: others may live
// that it did not join.
func (f *verdictFilter) first(ctx context.Context) {
	if f != nil && f.round(ctx) == quorum.Again {
		f.round(ctx)
	}
}

// survey writes a heartbeat and reads those of the others.
func (f *verdictFilter) survey(ctx context.Context) {
	heard := f.heard()
	members := f.quorumMembers(heard)
	f.mu.Lock()
	r := f.rules.Survey(members)
	f.mu.Unlock()
	f.beat(ctx, r, heard)
}

// lastHeartbeats writes a first heartbeat and returns those of the others; none if
// the store does not answer.
func (f *verdictFilter) lastHeartbeats(ctx context.Context) []quorum.Heartbeat {
	ctx, cancel := context.WithTimeout(ctx, quorum.AskFor)
	defer cancel()
	self := f.m.gossip.Self()
	data, err := proto.Marshal(&messages.Heartbeat{Passive: true, GossipAddress: self.GossipAddress})
	if err != nil {
		return nil
	}
	stored, err := f.heartbeats.Heartbeat(ctx, self.Name, data)
	if err != nil {
		return nil
	}
	return decodeHeartbeats(stored, nil)
}

// round does what quorum.Round says. It returns when to begin the next one.
func (f *verdictFilter) round(ctx context.Context) time.Duration {
	heard := f.heard()
	r := f.begin(heard)
	if r.Asks {
		f.ask(ctx, r, heard)
		r.Judge()
	}
	f.mu.Lock()
	due := f.rules.HeartbeatDue(time.Now(), r)
	f.mu.Unlock()
	if due {
		f.beat(ctx, r, heard)
	}
	gone := r.Gone()
	held := f.m.leases.table.clear(now(), f.m.views.Get(), gone, r.Reached(), r.Promised())
	return f.conclude(r, slices.DeleteFunc(gone, func(name string) bool { return slices.Contains(held, name) }))
}

func (f *verdictFilter) begin(heard []Member) *quorum.Round {
	var known []string
	for _, m := range f.m.views.Get().servers {
		known = append(known, m.Name)
	}
	members := f.quorumMembers(heard)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules.Begin(time.Now(), known, members)
}

// ask puts the question of a round to the members that were heard of.
func (f *verdictFilter) ask(ctx context.Context, r *quorum.Round, heard []Member) {
	silent := f.m.leases.table.silent(now())
	asked := map[string]quorum.Member{}
	for _, m := range r.Asked(silent) {
		asked[m.Name] = m
	}
	members := slices.DeleteFunc(slices.Clone(heard), func(m Member) bool { return asked[m.Name].Name == "" })
	if len(members) == 0 || r.Enough() {
		return
	}
	question := &messages.Ping{Name: f.m.gossip.Self().Name, Missing: append(r.Missing(), silent...)}
	f.poller.poll(ctx, members, question, func(from Member, pong *messages.Pong, err error) bool {
		r.Answered(asked[from.Name], quorum.Answer{Silent: err != nil, Known: pong.GetKnown(), Alive: pong.GetThere(), Promised: promised(pong), HasStore: pong.GetHasStore()})
		return r.Enough()
	})
}

// beat writes the heartbeat of this server and gives those of the others to the
// round.
func (f *verdictFilter) beat(ctx context.Context, r *quorum.Round, heard []Member) {
	ctx, cancel := context.WithTimeout(ctx, quorum.AskFor)
	defer cancel()
	self, cutOff := f.m.gossip.Self(), f.isCutOff()
	f.mu.Lock()
	serial, mine := f.rules.Beat(time.Now(), r)
	f.mu.Unlock()
	began := now()
	data, err := proto.Marshal(&messages.Heartbeat{Servers: mine.Servers, Workers: int32(mine.Workers),
		Passive: self.State != StateReady && !cutOff, Serial: serial, GossipAddress: self.GossipAddress, CutOff: cutOff})
	if err != nil {
		return
	}
	stored, err := f.heartbeats.Heartbeat(ctx, self.Name, data)
	beats := decodeHeartbeats(stored, heard)
	if err == nil {
		f.m.leases.table.heartbeatWritten(began, now(), leaseHeartbeats(self.Name, beats))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.rules.Unread(time.Now(), r)
		return
	}
	f.rules.Read(time.Now(), r, beats)
}

// conclude ends a round: it lets members go, and says what state this server is
// in if that has changed.
func (f *verdictFilter) conclude(r *quorum.Round, gone []string) (next time.Duration) {
	was := f.isCutOff()
	if r.MayCutOff() && !was {
		f.m.leases.table.cutOff(true) // Before anybody takes this server for cut off.
	}
	f.mu.Lock()
	next = f.rules.Conclude(r, gone)
	is, withoutStore, rivals := f.rules.CutOff(), f.rules.WithoutStore(), f.rules.Rivals()
	f.mu.Unlock()
	if !is {
		f.m.leases.table.cutOff(false)
	}
	if is != was {
		f.logCutOff(is, withoutStore, rivals)
		f.m.shown.refresh(quorum.AskFor)
	}
	if r.Asks {
		f.m.gossip.Wake()
	}
	return next
}

func (f *verdictFilter) logCutOff(is, withoutStore bool, rivals []quorum.Rival) {
	log := f.m.config.Logger
	names := make([]string, len(rivals))
	for i, r := range rivals {
		names[i] = r.Name
	}
	switch {
	case is && withoutStore:
		log.Warn("this server does not reach the store, which others do: it lets go of all runs until it has it back")
	case is:
		log.Warn("this server is cut off from the others and lets go of all runs until it reaches them again", "others", names)
	default:
		log.Info("this server reaches the others and the store again")
	}
}
