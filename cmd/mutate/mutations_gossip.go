package main

const (
	hearingGo = "cluster/gossip/hearing.go"
	lookGo    = "cluster/gossip/look.go"
	tableGo   = "cluster/gossip/table.go"
	storeGo   = "cluster/gossip/store.go"
	leasesGo  = "cluster/leases.go"
	leaseTabs = "cluster/lease_table.go"
)

// gossipMutations break rules of who hears whom, and of how often somebody is asked.
// Tests of many workers on a network in memory, and of each rule, have to notice.
var gossipMutations = []mutation{
	{"gossip: let workers know each other", []change{{storeGo,
		"	return self.Role != RoleWorker || m.Role != RoleWorker ||", "	return true ||"}}},
	{"gossip: call no worker silent", []change{{hearingGo,
		"		case quiet >= patience:\n", "		case quiet < 0:\n"}}},
	{"gossip: count the time without a processor as silence", []change{{hearingGo,
		"		h.clock += min(now.Sub(h.looked), 2*hearTick)\n", "		h.clock += now.Sub(h.looked)\n"}}},
	{"gossip: pass on what another server has heard", []change{{hearingGo,
		"h.clock-e.here < within", "h.clock-e.anywhere < within"}}},
	{"gossip: call a worker silent that another server hears", []change{{hearingGo,
		"		e.anywhere = h.clock\n", "		e.asked = h.clock\n"}}},
	{"gossip: let a silent worker that is heard stay away", []change{{tableGo,
		"	return !live && (!marked || e.silent)\n", "	return !live && (!marked || e.silent && live)\n"}}},
	{"gossip: give up a worker that asks and is called dead", []change{{tableGo,
		"	if s.heard {\n", "	if s.heard && due < 0 {\n"}}},
	{"gossip: bring back a process that has ended", []change{{tableGo,
		"	if t.dead[name].silent {\n", "	if t.dead[name].member.Name == name {\n"}}},
	{"leases: hear a worker that hears nobody", []change{{leasesGo,
		"		hears := lease.Held(ask.Term) || outranked ||", "		hears := true ||"}}},
	{"leases: do not ask for servers that were missed", []change{{leaseTabs,
		"	return t.servers[from].GossipAddress, true\n", "	return t.servers[from].GossipAddress, false\n"}}},
	{"lease: ask the sooner the less is answered", []change{{holderGo,
		"	if h.held || h.without >= soonMax {\n", "	if h.held {\n"}}},
	{"lease: look at a server that is slow again and again", []change{{holderGo,
		"		s.lookAt = began.Add(s.pause)\n", "		s.lookAt = began\n"}}},
	{"gossip: look at a member that is slow again and again", []change{{lookGo,
		"		last.at = later(now, last.at.Add(last.pause))\n", "		last.at = now\n"}}},
}
