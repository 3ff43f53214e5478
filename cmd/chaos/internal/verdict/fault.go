package verdict

import "time"

// Kind of a fault. Those of the first group have a figure in the report.
type Kind string

const (
	// WorkerKill is SIGKILL of a worker, whatever comes after it.
	WorkerKill Kind = "worker_kill"
	// WorkerStop is SIGSTOP of a worker until SIGCONT.
	WorkerStop Kind = "worker_stop"
	// ServerKill is SIGKILL of a server.
	ServerKill Kind = "server_kill"
	// ServerStop is SIGSTOP of a server until SIGCONT.
	ServerStop Kind = "server_stop"
	// ServerLeave is a graceful stop of a server (SIGTERM), one of a rolling
	// restart too.
	ServerLeave Kind = "server_leave"
	// Partition cuts Nodes off from the others, in both directions.
	Partition Kind = "partition"
	// Cut cuts two Nodes from each other, one way or both, that reach all others.
	// Nobody may be given up for it.
	Cut Kind = "cut"
	// PostgresRestart and PostgresKill take the database away until it is up
	// again.
	PostgresRestart Kind = "pg_restart"
	PostgresKill    Kind = "pg_kill"

	// ServersAway is the time without any server; each one's own fault is noted
	// too.
	ServersAway Kind = "servers_away"
	// PostgresFreeze stops all processes of the database for a while.
	PostgresFreeze Kind = "pg_freeze"
	// PartitionSplit cuts the nodes in two that cannot reach each other and both
	// reach the database: Nodes are those of both sides.
	PartitionSplit Kind = "partition_split"
	// PartitionDatabase cuts Nodes, servers, off the database only.
	PartitionDatabase Kind = "partition_pg"

	// WorkerPause and ServerPause are SIGSTOP for so short a time that nobody
	// may be given up for it.
	WorkerPause Kind = "worker_pause"
	ServerPause Kind = "server_pause"
	// WorkerLeave is a graceful stop of a worker (SIGTERM).
	WorkerLeave Kind = "worker_leave"
	// WorkerDouble starts a second process under the id of a worker.
	WorkerDouble Kind = "worker_double"
	// OneWay cuts one direction only; Loss drops some of the packets.
	OneWay Kind = "partition_one_way"
	Loss   Kind = "loss"
	// WorkerDrain is a drain of a worker by the API, and its end.
	WorkerDrain Kind = "worker_drain"
	// PartitionServers cuts a worker off all servers, not off other workers.
	PartitionServers Kind = "partition_servers"
	// WorkerJoin and ServerJoin bring a node that was not there before.
	WorkerJoin Kind = "worker_join"
	ServerJoin Kind = "server_join"
	// ClockSet sets the wall clock of the database's machine by ClockStep, one way or
	// the other, and then back. It excuses nothing.
	ClockSet Kind = "clock_set"
	// ServerForeign starts a server with another store. It excuses nothing.
	ServerForeign Kind = "server_foreign"
)

// ClockStep is what a ClockSet sets the clock by: more than any step may wait.
const ClockStep = 25 * time.Hour

// WithoutSteps is the time at which a wall clock showed a time that is not hours ago,
// had it not been set by ClockStep.
func WithoutSteps(shown, now time.Time) time.Time {
	return shown.Add(-shown.Sub(now).Round(ClockStep))
}

// Fault is one bad thing that was done to the cluster. What is not said in a
// fault did not happen: a worker that is recorded as lost and that no fault
// names was lost by a false verdict.
type Fault struct {
	Kind Kind `json:"kind"`
	// Target is the id of the node that was struck; empty for the database.
	Target string `json:"target,omitempty"`
	// Nodes are the ids of all nodes that lost a link by a Partition, OneWay or
	// Loss, on the side that is to be taken for the broken one: a worker that is
	// in none of these may not be given up. Target counts as one of them.
	Nodes []string `json:"nodes,omitempty"`
	// PID is the process that was struck; 0 lets the checker take the newest
	// one of the Target that had begun by At.
	PID int `json:"pid,omitempty"`
	// At is just before the fault was done.
	At time.Time `json:"at"`
	// Until is just after it was undone: SIGCONT, the link is back, the database
	// answers again, the process that takes the place of a dead one is up. Zero
	// if it never was.
	Until time.Time `json:"until,omitzero"`

	// Acked is when a WorkerDrain had been acknowledged, Lifted just before it
	// was asked to end; zero if that never was.
	Acked  time.Time `json:"acked,omitzero"`
	Lifted time.Time `json:"lifted,omitzero"`
	// Deadline of a WorkerDrain; 0 for none.
	Deadline time.Duration `json:"deadline,omitempty"`
}

// strikes says that the fault touches the node.
func (f *Fault) strikes(id string) bool {
	if f.Target == id {
		return true
	}
	for _, n := range f.Nodes {
		if n == id {
			return true
		}
	}
	return false
}

// deadly says that the process that was struck does not go on.
func (f *Fault) deadly() bool {
	switch f.Kind {
	case WorkerKill, ServerKill, WorkerLeave, ServerLeave:
		return true
	}
	return false
}

// onWorker says that the fault is about a worker's process and nothing else.
func (f *Fault) onWorker() bool {
	switch f.Kind {
	case WorkerKill, WorkerStop, WorkerPause, WorkerLeave, WorkerDouble, WorkerJoin, WorkerDrain:
		return true
	}
	return false
}
