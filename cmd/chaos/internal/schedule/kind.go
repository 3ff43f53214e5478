package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Group of kinds, as --faults names them.
type Group string

// The groups.
const (
	Kill      Group = "kill"
	Stop      Group = "stop"
	Partition Group = "partition"
	PG        Group = "pg"
	Restart   Group = "restart"
	Join      Group = "join"
	// Cut cuts two nodes from each other that both reach the rest.
	Cut Group = "cut"
	// Outage takes all servers away at once. Drain empties workers, SameID starts a second process of a worker id,
	// Lease keeps workers from acting for longer than their leases last.
	Outage Group = "outage"
	Drain  Group = "drain"
	SameID Group = "sameid"
	Lease  Group = "lease"
	// Foreign has a server come that does not belong to the others.
	Foreign Group = "foreign"
	// Clock sets the wall clock of PostgreSQL's machine.
	Clock Group = "clock"
)

// Groups lists all groups.
var Groups = []Group{Kill, Stop, Partition, Cut, PG, Restart, Join, Drain, SameID, Lease, Outage, Foreign, Clock}

// ParseGroups reads a list between commas; an empty one is all groups.
func ParseGroups(list string) ([]Group, error) {
	var groups []Group
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch g := Group(name); {
		case name == "":
		case !slices.Contains(Groups, g):
			return nil, fmt.Errorf("fault %q is not one of %s", name, Names(Groups))
		case !slices.Contains(groups, g):
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return slices.Clone(Groups), nil
	}
	return groups, nil
}

// Names is the groups between commas.
func Names(groups []Group) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = string(g)
	}
	return strings.Join(names, ",")
}

// Kind of fault.
type Kind string

// The kinds. Each lasts from Fault.At to Fault.Until and is undone then.
const (
	// WorkerKill is SIGKILL; the same id is started at the end.
	WorkerKill Kind = "worker_kill"
	// WorkerReplace is SIGKILL; a worker of another id, Fault.Extra, takes its
	// place until the same id is started at the end, and then leaves in order.
	WorkerReplace Kind = "worker_replace"
	// WorkerPause is SIGSTOP shorter than the verdict of the membership,
	// WorkerStop one that goes beyond it.
	WorkerPause Kind = "worker_pause"
	WorkerStop  Kind = "worker_stop"
	// WorkerRestart stops the worker in order and starts it at the end.
	WorkerRestart Kind = "worker_restart"

	// The same for servers.
	ServerKill    Kind = "server_kill"
	ServerPause   Kind = "server_pause"
	ServerStop    Kind = "server_stop"
	ServerRestart Kind = "server_restart"
	// ServersKill is SIGKILL of all servers at once, for longer than steps of the
	// load may wait; all are started at the end.
	ServersKill Kind = "servers_kill"
	// RollingRestart restarts all servers in order, one after the other, each
	// once the one before is up.
	RollingRestart Kind = "rolling_restart"

	// PartitionNode cuts the target off all other nodes, PostgreSQL included.
	PartitionNode Kind = "partition_node"
	// PartitionSplit cuts the targets off the rest; all reach PostgreSQL.
	PartitionSplit Kind = "partition_split"
	// PartitionIn drops what the target is sent, PartitionOut what it sends.
	PartitionIn  Kind = "partition_in"
	PartitionOut Kind = "partition_out"
	// PartitionPG cuts the target servers off PostgreSQL.
	PartitionPG Kind = "partition_pg"
	// PartitionLoss loses Fault.Percent of all packets between nodes.
	PartitionLoss Kind = "partition_loss"

	// PGRestart is a fast shutdown and a start, PGKill a kill -9 of it all and
	// a start at the end, PGFreeze a freeze of all its processes.
	PGRestart Kind = "pg_restart"
	PGKill    Kind = "pg_kill"
	PGFreeze  Kind = "pg_freeze"

	// ClockAhead and ClockBehind set the wall clock of PostgreSQL's machine by
	// verdict.ClockStep, and back at the end.
	ClockAhead  Kind = "clock_ahead"
	ClockBehind Kind = "clock_behind"

	// JoinServer and JoinWorker start Fault.Extra, which leaves in order at the
	// end.
	JoinServer Kind = "join_server"
	JoinWorker Kind = "join_worker"
	// JoinForeign starts Fault.Extra, a server with another store, which is to be
	// refused.
	JoinForeign Kind = "join_foreign"

	// WorkerDrain drains a worker by the API, with Fault.Deadline, and undrains it
	// at the end; WorkersDrain several at once.
	WorkerDrain  Kind = "worker_drain"
	WorkersDrain Kind = "workers_drain"
	// WorkersRestart stops several workers in order at once and starts each at
	// the end.
	WorkersRestart Kind = "workers_restart"

	// DoubleLive starts a second process with the id of a worker that lives;
	// DoubleDrained of one that is drained by the API meanwhile; DoubleLeaving of
	// one that is told to stop; DoubleFrozen of one that is frozen, and thawed at
	// the end. A second one that was let in is replaced by the first at the end.
	DoubleLive    Kind = "double_live"
	DoubleDrained Kind = "double_drained"
	DoubleLeaving Kind = "double_leaving"
	DoubleFrozen  Kind = "double_frozen"

	// WorkerFreeze is SIGSTOP for several times as long as a lease lasts.
	WorkerFreeze Kind = "worker_freeze"
	// WorkerCut cuts a worker off all servers, not off other workers.
	WorkerCut Kind = "worker_cut"

	// LinkCut cuts a worker and a server, or two servers, from each other.
	// LinkOneWay drops what the first target sends to the second.
	LinkCut    Kind = "link_cut"
	LinkOneWay Kind = "link_one_way"
)

// trait is what the plan knows of a kind.
type trait struct {
	kind  Kind
	group Group
	// weight is how often the kind is drawn among those of its group.
	weight int
	// on is what it hurts.
	on area
	// from and to bound how long it lasts.
	from, to time.Duration
}

// area is what a kind hurts.
type area int

const (
	aWorker area = iota
	aServer
	allServers
	aNode
	someNodes
	network
	database
	// serversOffDatabase hurts the network of some servers.
	serversOffDatabase
	newServer
	newWorker
	someWorkers
	// workerFromServers hurts the network of a worker, aLink the way between two
	// nodes while each has another one.
	workerFromServers
	aLink
)

const ms = time.Millisecond

// traits of all kinds. The short freezes end well before the verdict of the
// local preset, the long ones are well beyond it. PostgreSQL is away for some
// seconds at most.
var traits = []trait{
	{WorkerKill, Kill, 3, aWorker, 200 * ms, 5000 * ms},
	{WorkerReplace, Kill, 1, aWorker, 5000 * ms, 8000 * ms},
	{ServerKill, Kill, 3, aServer, 200 * ms, 5000 * ms},
	{WorkerPause, Stop, 1, aWorker, 100 * ms, 700 * ms},
	{WorkerStop, Stop, 2, aWorker, 3000 * ms, 7000 * ms},
	{ServerPause, Stop, 1, aServer, 100 * ms, 700 * ms},
	{ServerStop, Stop, 2, aServer, 3000 * ms, 7000 * ms},
	{WorkerRestart, Restart, 1, aWorker, 0, 3000 * ms},
	{ServerRestart, Restart, 1, aServer, 0, 3000 * ms},
	{RollingRestart, Restart, 1, allServers, 6000 * ms, 6000 * ms},
	{PartitionNode, Partition, 1, aNode, 2000 * ms, 7000 * ms},
	{PartitionSplit, Partition, 1, someNodes, 2000 * ms, 7000 * ms},
	{PartitionIn, Partition, 1, aNode, 2000 * ms, 6000 * ms},
	{PartitionOut, Partition, 1, aNode, 2000 * ms, 6000 * ms},
	{PartitionPG, Partition, 1, serversOffDatabase, 1000 * ms, 6000 * ms},
	{PartitionLoss, Partition, 1, network, 3000 * ms, 7000 * ms},
	{PGRestart, PG, 1, database, 0, 500 * ms},
	{PGKill, PG, 1, database, 200 * ms, 3000 * ms},
	{PGFreeze, PG, 1, database, 300 * ms, 4000 * ms},
	{ClockAhead, Clock, 1, database, 3000 * ms, 6000 * ms},
	{ClockBehind, Clock, 1, database, 3000 * ms, 6000 * ms},
	{JoinServer, Join, 1, newServer, 4000 * ms, 8000 * ms},
	{JoinWorker, Join, 1, newWorker, 4000 * ms, 8000 * ms},
	{JoinForeign, Foreign, 1, newServer, 5000 * ms, 8000 * ms},
	{WorkerDrain, Drain, 2, aWorker, 4000 * ms, 9000 * ms},
	{WorkersDrain, Drain, 2, someWorkers, 4000 * ms, 8000 * ms},
	{WorkersRestart, Drain, 1, someWorkers, 0, 3000 * ms},
	{DoubleLive, SameID, 1, aWorker, 3000 * ms, 5000 * ms},
	{DoubleDrained, SameID, 1, aWorker, 4000 * ms, 7000 * ms},
	{DoubleLeaving, SameID, 1, aWorker, 7000 * ms, 9000 * ms},
	{DoubleFrozen, SameID, 1, aWorker, 7000 * ms, 9000 * ms},
	{WorkerFreeze, Lease, 1, aWorker, 8000 * ms, 15000 * ms},
	{WorkerCut, Lease, 2, workerFromServers, 2000 * ms, 9000 * ms},
	{LinkCut, Cut, 1, aLink, 4000 * ms, 6000 * ms},
	{LinkOneWay, Cut, 1, aLink, 4000 * ms, 6000 * ms},
	{ServersKill, Outage, 1, allServers, 16000 * ms, 20000 * ms},
}

// cuts says that a kind is about the network.
func (t trait) cuts() bool {
	return t.group == Partition || t.on == workerFromServers || t.on == aLink
}
