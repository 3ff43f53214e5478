package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// warmUp passes before the first fault.
	warmUp = 4 * time.Second
	// gapMin and gapMax bound the quiet after a fault.
	gapMin, gapMax = 1500 * ms, 4500 * ms
	// overlapPercent of the faults begin while the one before lasts.
	overlapPercent = 25
	// tries to find a fault that may overlap with those that last.
	tries = 20
	// lossMin and lossMax bound the percentage of lost packets.
	lossMin, lossMax = 5, 40
	// deadlineMin and deadlineMax bound the deadline of a drain: some time is
	// left after it.
	deadlineMin, deadlineMax = 500 * ms, 2500 * ms
)

// Config of a plan.
type Config struct {
	// Seed of the draw.
	Seed uint64
	// Duration that all faults fit into. Under a few seconds there are none.
	Duration time.Duration
	// Groups that are allowed; none means no faults.
	Groups []Group
	// Servers and Workers are ids of the nodes that are there from the start.
	// With one server, nothing hurts it that keeps it from being there.
	Servers, Workers []string
	// Uncut says that the network cannot be cut: kinds that take that are left
	// out. The zero value is one that can.
	Uncut bool
}

// Fault is something bad that happens for a while.
type Fault struct {
	// Number counts from 1 in the order of time.
	Number int
	Kind   Kind
	// Targets are ids of nodes: one, or several for RollingRestart,
	// PartitionSplit (one side; the rest is the other), PartitionPG, WorkersDrain
	// and WorkersRestart; the two ends for those of Cut; none for PartitionLoss
	// and those of PostgreSQL.
	Targets []string
	// Extra is the id of a node that lives only as long as the fault.
	Extra string
	// At and Until count from the start of the load.
	At, Until time.Duration
	// Percent of packets that PartitionLoss loses.
	Percent int
	// Deadline of a WorkerDrain; 0 for none.
	Deadline time.Duration
}

// String is one line: "worker_kill w3, 1.2 s".
func (f Fault) String() string {
	s := string(f.Kind)
	if len(f.Targets) > 0 {
		s += " " + strings.Join(f.Targets, "+")
	}
	if f.Extra != "" {
		s += " with " + f.Extra
	}
	if f.Percent > 0 {
		s += fmt.Sprintf(" of %d %%", f.Percent)
	}
	if f.Deadline > 0 {
		s += fmt.Sprintf(" by %.1f s", f.Deadline.Seconds())
	}
	return fmt.Sprintf("%s for %.1f s", s, (f.Until - f.At).Seconds())
}

// Plan draws the faults.
func Plan(c Config) []Fault {
	p := &planner{Config: c, random: rand.New(rand.NewPCG(c.Seed, 0x6c696d706574))}
	for _, g := range c.Groups {
		if kinds := p.deck(g); len(kinds) > 0 {
			p.groups = append(p.groups, g)
		}
	}
	slices.Sort(p.groups)
	if len(p.groups) == 0 {
		return nil
	}
	p.bags = make(map[Group][]trait)
	for at := warmUp; ; {
		f, ok := p.draw(at, nil)
		if !ok {
			return p.faults
		}
		p.add(f)
		end := f.Until
		if p.random.IntN(100) < overlapPercent && f.Until > f.At {
			if g, ok := p.overlap(f); ok {
				p.add(g)
				end = max(end, g.Until)
			}
		}
		at = end + between(p.random, gapMin, gapMax)
	}
}

type planner struct {
	Config
	random *rand.Rand
	faults []Fault
	// groups that have something that is possible, and the bags that the next
	// group and the next kind of each are drawn from: all come before one
	// comes again.
	groups, order []Group
	bags          map[Group][]trait
	extras        int
}

func (p *planner) add(f Fault) {
	f.Number = len(p.faults) + 1
	p.faults = append(p.faults, f)
}

// overlap draws a fault that begins while another lasts.
func (p *planner) overlap(with Fault) (Fault, bool) {
	at := with.At + between(p.random, 0, with.Until-with.At)
	for range tries {
		if f, ok := p.draw(at, &with); ok {
			return f, true
		}
	}
	return Fault{}, false
}

// draw takes the next kind out of the bags and makes a fault of it. It fails if
// the fault does not fit into the duration or besides the other; then the kind
// stays in its bag.
func (p *planner) draw(at time.Duration, beside *Fault) (Fault, bool) {
	if len(p.order) == 0 {
		p.order = slices.Clone(p.groups)
		p.random.Shuffle(len(p.order), func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })
	}
	i := 0
	if beside != nil {
		i = p.random.IntN(len(p.order))
	}
	group := p.order[i]
	if len(p.bags[group]) == 0 {
		p.bags[group] = p.deck(group)
	}
	bag := p.bags[group]
	f := p.fault(bag[0], at, beside)
	if f.Until > p.Duration || beside != nil && !compatible(f, *beside, p.Servers, p.Workers) {
		return Fault{}, false
	}
	p.bags[group] = bag[1:]
	p.order = slices.Delete(p.order, i, i+1)
	if f.Extra != "" {
		p.extras++
	}
	return f, true
}

// deck is the possible kinds of a group by weight, shuffled so that each comes
// once before one comes twice.
func (p *planner) deck(group Group) []trait {
	var once, again []trait
	for _, t := range traits {
		if t.group != group || !p.possible(t.on) || p.Uncut && t.cuts() {
			continue
		}
		once = append(once, t)
		for range t.weight - 1 {
			again = append(again, t)
		}
	}
	for _, ts := range [][]trait{once, again} {
		p.random.Shuffle(len(ts), func(i, j int) { ts[i], ts[j] = ts[j], ts[i] })
	}
	return append(once, again...)
}

func (p *planner) possible(on area) bool {
	switch on {
	case aWorker:
		return len(p.Workers) > 1
	case aServer, allServers, serversOffDatabase, someNodes:
		return len(p.Servers) > 1
	case aNode, workerFromServers:
		return len(p.Servers) > 1 && len(p.Workers) > 1
	case aLink:
		return len(p.Servers) > 2 && len(p.Workers) > 1
	case someWorkers:
		return len(p.Workers) > 3
	default:
		return true
	}
}

// fault draws the rest of a fault of the kind.
func (p *planner) fault(t trait, at time.Duration, beside *Fault) Fault {
	f := Fault{Kind: t.kind, At: at, Until: at + between(p.random, t.from, t.to)}
	servers, workers := p.Servers, p.Workers
	if beside != nil {
		servers, workers = without(servers, beside.Targets), without(workers, beside.Targets)
	}
	f.Targets = p.targets(t.on, servers, workers)
	switch t.on {
	case network:
		f.Percent = lossMin + p.random.IntN(lossMax-lossMin+1)
	case newServer:
		f.Extra = fmt.Sprintf("sx%d", p.extras+1)
	case newWorker:
		f.Extra = fmt.Sprintf("wx%d", p.extras+1)
	}
	switch {
	case t.kind == RollingRestart:
		f.Until = at + time.Duration(len(servers))*t.to/3
	case t.kind == WorkerReplace:
		f.Extra = fmt.Sprintf("wx%d", p.extras+1)
	case t.kind == WorkerDrain && p.random.IntN(2) == 0:
		f.Deadline = between(p.random, deadlineMin, deadlineMax)
	}
	return f
}

// targets draws what a fault strikes in an area; none in one that has no nodes.
func (p *planner) targets(on area, servers, workers []string) []string {
	switch on {
	case aWorker, workerFromServers:
		return p.pick(workers, 1)
	case aServer:
		return p.pick(servers, 1)
	case allServers:
		return p.pick(servers, len(servers))
	case aNode:
		// A server as often as a worker, although there are fewer.
		if p.random.IntN(2) == 0 {
			return p.pick(servers, 1)
		}
		return p.pick(workers, 1)
	case aLink:
		ends := slices.Concat(p.pick(servers, 1), p.pick(workers, 1))
		if p.random.IntN(4) == 0 {
			ends = p.pick(servers, 2)
		}
		p.random.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
		return ends
	case someWorkers:
		// One is left to go to, and one to be hurt otherwise.
		return p.pick(workers, 2+p.random.IntN(len(p.Workers)-3))
	case someNodes:
		return slices.Concat(p.pick(servers, 1+p.random.IntN(len(p.Servers)-1)), p.pick(workers, p.random.IntN(len(p.Workers))))
	case serversOffDatabase:
		return p.pick(servers, 1+p.random.IntN(len(p.Servers)-1))
	}
	return nil
}

// pick draws n of the ids, or all there are, in their order for more than one.
func (p *planner) pick(ids []string, n int) []string {
	order := p.random.Perm(len(ids))
	order = order[:min(n, len(order))]
	slices.Sort(order)
	var picked []string
	for _, i := range order {
		picked = append(picked, ids[i])
	}
	return picked
}

func without(ids, gone []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(gone, id) })
}

// compatible says whether two faults may last at once:
//   - their kinds get on with each other;
//   - each has what it strikes, and they share no target;
//   - the ends of a cut are both there;
//   - a worker that neither touches is left;
//   - a server that neither touches is left, or, while all servers are
//     restarted, none of them is hurt otherwise.
func compatible(a, b Fault, servers, workers []string) bool {
	ta, tb := traitOf(a.Kind), traitOf(b.Kind)
	touched := slices.Concat(a.Targets, b.Targets)
	switch {
	case clash(ta, tb) || clash(tb, ta):
		return false
	case !a.complete() || !b.complete() || shared(a.Targets, b.Targets):
		return false
	case len(without(workers, touched)) == 0:
		return false
	case ta.kind == RollingRestart:
		return !shared(servers, b.Targets)
	case tb.kind == RollingRestart:
		return !shared(servers, a.Targets)
	}
	return len(without(servers, touched)) > 0
}

// clash says that faults of two kinds never last at once, whatever they strike:
//   - they are of one kind, or both of PostgreSQL or of the network;
//   - a clock is set while no server is there: that counts as time;
//   - a server with another store is there: it meets the other fault.
func clash(a, b trait) bool {
	switch {
	case a.kind == b.kind, a.on == database && b.on == database, a.cuts() && b.cuts():
		return true
	case a.group == Clock && b.group == Outage:
		return true
	}
	return a.kind == JoinForeign
}

// complete says that the fault has what its kind strikes.
func (f Fault) complete() bool {
	on := traitOf(f.Kind).on
	return on == aLink && len(f.Targets) == 2 || on != aLink && (len(f.Targets) > 0 || !needsTarget(on))
}

func shared(a, b []string) bool {
	return slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) })
}

func needsTarget(on area) bool {
	return on != network && on != database && on != newServer && on != newWorker
}

func traitOf(k Kind) trait {
	return traits[slices.IndexFunc(traits, func(t trait) bool { return t.kind == k })]
}

// between draws a time in whole milliseconds.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(r.Int64N(int64((to-from)/time.Millisecond)+1))*time.Millisecond
}
