package gossip

import (
	"math"
	"time"

	"github.com/hashicorp/memberlist"
)

// Preset is the timing of failure detection. It trades the time until a silent
// member is declared gone against the risk to declare one gone that is merely
// slow. A member is declared gone once it left a probe unanswered, did not
// refute the suspicion for the suspicion time, and did not refute the verdict
// for the refute time; that one is stretched, by up to ten probe intervals,
// where the observer itself was kept waiting for a processor of late.
//
// Only silence depends on it: a process that was stopped, a machine without
// power, a network that is cut. A process that has ended is known by refused
// connections, whatever the preset.
//
// All members of a cluster should have the same preset: the observer's counts.
type Preset struct {
	// ProbeInterval between two probes of one random member each, and the
	// time that the probed has for its direct answer.
	ProbeInterval time.Duration
	ProbeTimeout  time.Duration
	// SuspicionMult × log10(members) (at least 1) × ProbeInterval is the
	// shortest suspicion; SuspicionMaxTimeoutMult times that the longest, when
	// nobody confirms it.
	SuspicionMult           int
	SuspicionMaxTimeoutMult int
	// RefuteTime is what a ready member has, after the verdict on it has been
	// heard of, to refute it before it leaves the view: the verdict may be that
	// of an accuser that got no processor itself, and was not told in time.
	RefuteTime time.Duration
	// LeaseFor is how long a worker may act after it has asked a server for the
	// last time that was answered: it cancels the contexts of its steps then, and
	// no server gives its runs away before. About as long as a verdict takes, so
	// that hardly anybody waits for leases to end; the longer, the longer a worker
	// may get no processor. Defaults to the shortest suspicion and the refute time.
	LeaseFor time.Duration
	// AwarenessMaxMultiplier is how far a member that is itself slow stretches
	// its own probes, before it blames others.
	AwarenessMaxMultiplier int
	// IndirectChecks members are asked to probe who did not answer.
	IndirectChecks int
	// GossipInterval between packets of news, to GossipNodes members each.
	GossipInterval time.Duration
	GossipNodes    int
	// GossipToTheDead goes on to tell the dead the news, so that a healed
	// partition of less than this merges at once.
	GossipToTheDead time.Duration
	// PushPullInterval between exchanges of the whole state. A worker makes them
	// workerPushPull times as seldom: it finds out by its questions for leases when it
	// has missed something.
	PushPullInterval time.Duration
	// TCPTimeout of an exchange and of the fallback probe.
	TCPTimeout time.Duration
}

// Suspicion returns the shortest time between the first unanswered probe of a
// member and the verdict, in a cluster of n members.
func (p Preset) Suspicion(n int) time.Duration {
	scale := max(1, math.Log10(max(1, float64(n))))
	return time.Duration(scale * float64(p.SuspicionMult) * float64(p.ProbeInterval))
}

// Lease is LeaseFor or its default.
func (p Preset) Lease() time.Duration {
	if p.LeaseFor > 0 {
		return p.LeaseFor
	}
	return p.Suspicion(1) + p.RefuteTime
}

// workerPushPull is that of Preset.PushPullInterval.
const workerPushPull = 4

func (p Preset) memberlist(role Role) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval, c.ProbeTimeout = p.ProbeInterval, p.ProbeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = p.SuspicionMult, p.SuspicionMaxTimeoutMult
	c.AwarenessMaxMultiplier, c.IndirectChecks = p.AwarenessMaxMultiplier, p.IndirectChecks
	c.GossipInterval, c.GossipNodes, c.GossipToTheDeadTime = p.GossipInterval, p.GossipNodes, p.GossipToTheDead
	c.PushPullInterval, c.TCPTimeout = p.PushPullInterval, p.TCPTimeout
	if role == RoleWorker {
		c.PushPullInterval *= workerPushPull
	}
	// Packets are small, and each would cost some 100 kB of tables.
	c.EnableCompression = false
	return c
}
