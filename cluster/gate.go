package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/messages"
)

const (
	// signEvery is the pace of the signs of life, signFresh the age up to
	// which one shows that its server lives: less than a verdict takes.
	signEvery = 400 * time.Millisecond
	signFresh = 3 * signEvery
	// gateTry bounds the pings and the look at the signs of one judgement.
	gateTry = 300 * time.Millisecond
	// gateAgain is the pause before the next one while it is too early to tell.
	gateAgain = 100 * time.Millisecond
	// gatePatience is how long a rival is given to notice that it does not
	// reach this server.
	gatePatience = 2 * time.Second
)

// gate stands between the verdicts of memberlist and the view of a server. A
// verdict says that a member is out of reach, which is as true of this server
// when its own network is down; and it would then take over what others hold,
// and declare workers lost that are not. So a server that misses members asks
// the others, and the store, before it lets them go; see judge. One that is cut
// off keeps in its view those that it misses and says that it is joining: it
// owns nothing, until it reaches the others again, and then takes its shards up
// like a new member. A nil gate lets everything through.
type gate struct {
	m     *membership
	signs Signs
	// ask sends a question to the activator of a member.
	ask    func(ctx context.Context, to Member, msg proto.Message) (proto.Message, error)
	signal chan struct{}

	mu sync.Mutex
	// held are members that were declared gone and are still in the view;
	// released are those of them that may leave it.
	held     map[string]Member
	released map[string]bool
	// rivals of the last look at the signs.
	rivals []rival
	// suspect: others may have declared this server gone.
	suspect bool
	cutOff  bool
	// serial of the last sign that was given, and when; of the loop's goroutine.
	serial uint64
	signed time.Time
	seen   seenSigns
	// promised is for how long leases last by the word of others; of the loop's
	// goroutine.
	promised time.Duration
	// since is when the present doubt began, unread when the signs could last
	// not be read.
	since, unread time.Time
}

func newGate(m *membership, signs Signs) *gate {
	return &gate{m: m, signs: signs, signal: make(chan struct{}, 1), held: map[string]Member{}, released: map[string]bool{}}
}

// filter returns the members of the next view: those that were heard of, and
// those of the last one that are held. A server that was alone has nobody to
// ask.
func (g *gate) filter(old *View, heard []Member) []Member {
	if g == nil {
		return heard
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	self := g.m.Self().Name
	alone := len(g.rivals) == 0 && !g.cutOff && !slices.ContainsFunc(old.servers, func(m Member) bool { return m.Name != self })
	now := map[string]bool{}
	for _, m := range heard {
		now[m.Name] = true
	}
	held := map[string]Member{}
	for _, m := range old.Members {
		if now[m.Name] || m.Name == self || !g.isLoss(m) || g.released[m.Name] || alone {
			continue
		}
		held[m.Name] = m
		heard = append(heard, m)
		if _, known := g.held[m.Name]; !known {
			g.kick()
		}
	}
	clear(g.released)
	g.held = held
	return heard
}

// isLoss says whether somebody loses by it that a member is out of reach: not by
// one that was not ready yet, or a server that drains. A worker acts until it has
// said that it has ended.
func (g *gate) isLoss(m Member) bool {
	if m.Role == RoleWorker {
		return m.State != StateJoining && !g.m.leases.isOver(m.Name)
	}
	return m.State == StateReady
}

// missed are the servers that are not heard of and may live, and where they
// gossip: those that are held, and those whose signs of life were read.
func (g *gate) missed() map[string]string {
	servers := map[string]string{}
	if g == nil {
		return servers
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.held {
		if m.Role == RoleServer {
			servers[m.Name] = m.GossipAddress
		}
	}
	for _, r := range g.rivals {
		servers[r.name] = r.address
	}
	return servers
}

// kick asks for a judgement soon.
func (g *gate) kick() {
	if g == nil {
		return
	}
	select {
	case g.signal <- struct{}{}:
	default:
	}
}

// doubt notes that others may have declared this server gone.
func (g *gate) doubt() {
	if g == nil {
		return
	}
	g.suspectNow()
	g.kick()
}

func (g *gate) suspectNow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.suspect = true
}

func (g *gate) isCutOff() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cutOff
}

func (g *gate) loop(ctx context.Context) {
	if g == nil {
		return
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.signal:
		case <-t.C:
		}
		t.Reset(g.round(ctx))
	}
}

// first looks around before this server is ready: others may live that it did
// not join.
func (g *gate) first(ctx context.Context) {
	if g != nil && g.round(ctx) == gateAgain {
		g.round(ctx)
	}
}

// look gives a sign of life, and looks for those of servers that are not heard
// of.
func (g *gate) look(ctx context.Context) {
	heard, _, _ := g.m.heardMembers()
	g.sign(ctx, &missing{self: g.m.Self().Name, mine: sideOf(heard)}, heard, nil)
}

// round gives a sign of life; it judges if members are missing, or others live
// that are not in the view. It returns when to begin the next one.
func (g *gate) round(ctx context.Context) time.Duration {
	c, held, doubt := g.begin()
	heard, _, _ := g.m.heardMembers()
	if !doubt {
		c.mine = sideOf(heard)
		g.sign(ctx, &c, heard, nil)
		if len(c.rivals) > 0 {
			g.suspectNow()
			return gateAgain
		}
		return signEvery
	}
	strangers, vouched := g.reach(ctx, &c, heard, held)
	verdict := c.judge()
	switch {
	case verdict == missedWait:
		g.sign(ctx, &c, heard, strangers)
		verdict = c.judge()
	case time.Since(g.signed) >= signEvery:
		// Others go by it, however long this server is in doubt.
		g.sign(ctx, &c, heard, strangers)
	}
	gone := slices.DeleteFunc(slices.Clone(held), func(name string) bool { return slices.Contains(vouched, name) })
	if verdict == missedGone {
		gone = g.withoutLeases(gone, c.mine.servers)
	}
	g.conclude(verdict, gone)
	if verdict == missedGone && len(gone) == len(held) {
		return signEvery
	}
	return gateAgain
}

// holdsWorkers says that a silent worker waits for a verdict.
func (g *gate) holdsWorkers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.held {
		if m.Role == RoleWorker {
			return true
		}
	}
	return false
}

// withoutLeases returns those of the members that may go, as no lease holds
// them back.
func (g *gate) withoutLeases(gone, reached []string) []string {
	if g.promised > 0 {
		return slices.DeleteFunc(gone, func(name string) bool {
			m, _ := g.m.current.Load().view.Member(name)
			return m.Role == RoleWorker && !g.m.leases.isOver(name)
		})
	}
	held := g.m.leases.clear(gone, reached)
	return slices.DeleteFunc(gone, func(name string) bool { return slices.Contains(held, name) })
}

// begin notes what there is to judge, if there is anything.
func (g *gate) begin() (c missing, held []string, doubt bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c = missing{self: g.m.Self().Name, rivals: g.rivals}
	for _, m := range g.m.current.Load().view.servers {
		c.known = append(c.known, m.Name)
	}
	for name := range g.held {
		held = append(held, name)
	}
	doubt = len(held) > 0 || g.suspect || g.cutOff
	switch {
	case !doubt:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = time.Now()
	}
	c.patience = time.Since(g.since) < gatePatience
	return c, held, doubt
}

// reach asks the members that were heard of whether they hear this one, until
// most servers have said so. It returns the servers that do not know this one,
// and those of the held members that a server sees live: after a partition they
// are heard of one by one.
func (g *gate) reach(ctx context.Context, c *missing, heard []Member, held []string) (strangers, vouched []string) {
	ctx, cancel := context.WithTimeout(ctx, gateTry)
	defer cancel()
	type answer struct {
		member Member
		pong   *messages.Pong
		err    error
	}
	answers := make(chan answer, len(heard))
	asked := 0
	silent := g.m.leases.silent()
	missing := append(slices.Clone(held), silent...)
	// awaited are servers whose word on the leases of silent workers is needed.
	awaited := map[string]bool{}
	c.mine = side{servers: []string{c.self}}
	g.promised = 0
	for _, m := range heard {
		if m.Name == c.self {
			continue
		}
		asked++
		if m.Role == RoleServer && !slices.Contains(silent, m.Name) && g.holdsWorkers() {
			awaited[m.Name] = true
		}
		go func() {
			reply, err := g.ask(ctx, m, &messages.Ping{Name: c.self, Missing: missing})
			pong, _ := reply.(*messages.Pong)
			answers <- answer{m, pong, err}
		}()
	}
	for ; asked > 0 && (!c.majority() || len(awaited) > 0); asked-- {
		a := <-answers
		delete(awaited, a.member.Name)
		g.promised = max(g.promised, time.Duration(a.pong.GetHoldMs())*time.Millisecond)
		server, known := a.member.Role == RoleServer, a.pong.GetKnown()
		if known && server {
			vouched = append(vouched, a.pong.GetThere()...)
		}
		switch {
		case a.err == nil && known && server:
			c.mine.servers = append(c.mine.servers, a.member.Name)
			slices.Sort(c.mine.servers)
		case a.err == nil && known:
			c.mine.workers++
		case a.err == nil && server:
			strangers = append(strangers, a.member.Name)
		case server && slices.Contains(c.known, a.member.Name):
			c.silent = true
		}
	}
	return strangers, vouched
}

// sign gives the sign of life and looks who else lives and is not reached: who
// was not heard of, or does not know this server.
func (g *gate) sign(ctx context.Context, c *missing, heard []Member, strangers []string) {
	ctx, cancel := context.WithTimeout(ctx, gateTry)
	defer cancel()
	self := g.m.Self()
	g.serial++
	g.signed = time.Now()
	began := now()
	data, err := proto.Marshal(&messages.ServerSign{Servers: c.mine.servers, Workers: int32(c.mine.workers),
		Passive: self.State != StateReady && !g.isCutOff(), Serial: g.serial, GossipAddress: self.GossipAddress, CutOff: g.isCutOff(), Leases: true})
	if err != nil {
		return
	}
	signs, err := g.signs.SignOfLife(ctx, c.self, data)
	if err == nil {
		g.m.leases.signed(began, othersSigns(c.self, signs, heard))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.unread = time.Now()
		return
	}
	// After an outage of the store all signs are old, until they are given again.
	c.read = g.unread.IsZero() || time.Since(g.unread) > signFresh
	c.rivals = nil
	for _, s := range g.seen.fresh(time.Now(), signs) {
		if s.server == c.self || s.said.Passive || replaced(s.server, heard) {
			continue
		}
		there := slices.ContainsFunc(heard, func(m Member) bool { return m.Name == s.server })
		if !there || slices.Contains(strangers, s.server) {
			c.rivals = append(c.rivals, rival{s.server, s.said.GossipAddress, side{s.said.Servers, int(s.said.Workers)}})
		}
	}
	g.rivals = c.rivals
}

// conclude acts on a judgement about members that were held.
func (g *gate) conclude(verdict judgement, held []string) {
	g.mu.Lock()
	was := g.cutOff
	switch verdict {
	case missedWait:
	case missedGone:
		g.cutOff, g.suspect, g.since = false, false, time.Time{}
		for _, name := range held {
			if _, still := g.held[name]; still {
				g.released[name] = true
			}
		}
	case missedCutOff:
		if !g.cutOff {
			g.m.leases.cutOff(true)
		}
		g.cutOff = true
	}
	is, rivals := g.cutOff, g.rivals
	g.mu.Unlock()
	if was && !is {
		g.m.leases.cutOff(false)
	}
	switch {
	case is && !was:
		names := make([]string, len(rivals))
		for i, r := range rivals {
			names[i] = r.name
		}
		g.m.config.Logger.Warn("this server is cut off from the others and lets go of all runs until it reaches them again", "others", names)
	case was && !is:
		g.m.config.Logger.Info("this server reaches the others again")
	}
	if is != was {
		g.m.showState(gateTry)
	}
	g.m.events.wake()
}

// sideOf is what a server reaches by hearsay.
func sideOf(heard []Member) (s side) {
	for _, m := range heard {
		if m.Role == RoleServer {
			s.servers = append(s.servers, m.Name)
		} else {
			s.workers++
		}
	}
	slices.Sort(s.servers)
	return s
}

// othersSigns are the signs of other servers that have not been started anew.
func othersSigns(self string, signs []Sign, heard []Member) []lease.Sign {
	out := make([]lease.Sign, 0, len(signs))
	for _, s := range signs {
		said := new(messages.ServerSign)
		if s.Server == self || replaced(s.Server, heard) || proto.Unmarshal(s.Data, said) != nil {
			continue
		}
		out = append(out, lease.Sign{Server: s.Server, Serial: said.Serial, Age: s.Age, CutOff: said.CutOff, Passive: said.Passive, Older: !said.Leases})
	}
	return out
}
