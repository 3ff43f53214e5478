package main

const (
	partitionGo = "cluster/quorum/partition.go"
	filterGo    = "cluster/quorum/filter.go"
	roundGo     = "cluster/quorum/round.go"
	heartbeatGo = "cluster/quorum/heartbeat.go"
)

// quorumMutations break rules that a cluster in the simulation makes up for: the
// journal decides between servers that both go on.
var quorumMutations = []mutation{
	{"quorum: go on with half of the servers", []change{{partitionGo,
		"	return 2*reached > len(all)\n", "	return 2*reached >= len(all)\n"}}},
	{"quorum: conclude without having read the heartbeats", []change{{partitionGo,
		"	if !e.read || e.silent {", "	if e.silent {"}}},
	{"quorum: let the smaller partition go on", []change{{partitionGo,
		"		return len(p.Servers) - len(q.Servers)\n", "		return len(q.Servers) - len(p.Servers)\n"}}},
	{"quorum: give a rival no time to notice", []change{{partitionGo,
		"		if e.patience && ", "		if e.patience && e.self == \"\" && "}}},
	{"quorum: believe the clock of the store", []change{{heartbeatGo,
		"case last.serial == b.Serial:\n				w.at = last.at\n", "case last.serial == b.Serial:\n"}}},
	{"quorum: let a member go that another server sees", []change{{roundGo,
		"slices.Contains(r.vouched, name)", "name == \"\""}}},
	{"quorum: stop writing heartbeats while members are missed", []change{{filterGo,
		"r.verdict == Wait || now.Sub(f.beaten) >= HeartbeatEvery", "r.verdict == Wait"}}},
	{"quorum: do not wait for the word of servers on leases", []change{{roundGo,
		"r.majority() && len(r.awaited) == 0", "r.majority()"}}},
	{"quorum: let everybody go who is missed", []change{{filterGo,
		"		if !m.Loss || f.released[m.Name] || alone {", "		if !m.Loss || f.released[m.Name] || alone || m.Name != \"\" {"}}},
	{"quorum: own runs without the store while others have it", []change{{filterGo,
		"	case r.lostStore():\n", "	case r.lostStore() && f.self == \"\":\n"}}},
	{"quorum: say to have the store for long after", []change{{filterGo,
		"now.Sub(f.stored) < storeRecent", "now.Sub(f.stored) < 10*StoreSilence"}}},
	{"quorum: let the last server give up that waits for the store", []change{{filterGo,
		"	case !others || r.read:\n", "	case r.read:\n"}}},
}
