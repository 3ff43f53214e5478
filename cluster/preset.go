package cluster

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
	// PushPullInterval between exchanges of the whole state.
	PushPullInterval time.Duration
	// TCPTimeout of an exchange and of the fallback probe.
	TCPTimeout time.Duration
}

// LocalConfig is for one machine or one rack, and what the promise to restart
// the steps of a dead worker within 3 s is made with.
//
// Measured with 3 servers and 5 workers as processes on 2 cores that other work
// kept at a load of 30 to 50 as well; 20 trials each, the time until a server
// lets the member go:
//
//	                    alone              beside 8 busy loops
//	SIGKILL of one      p50 0.16 s, max 0.4 s    0.16 s, 0.6 s
//	SIGKILL of three    p50 0.16 s, max 1.1 s    0.16 s, 0.7 s
//	SIGSTOP of one      p50 1.8 s, max 2.7 s     1.8 s, 2.7 s
//	SIGSTOP of three    p50 1.9 s, max 3.3 s
//
// Of those that lived none was declared gone in five minutes beside 8 busy
// loops, with processes that got no processor for up to 0.7 s. Where they were
// kept waiting for more than 1.1 s, by a load of some 50 on 2 cores, there were
// false verdicts, and the more the longer the waits.
//
// The trade: a process that gets no processor for 1.5 s is declared gone though
// it lives. It comes back under a new member id, and what it held has moved.
// Where that happens, LANConfig waits longer, and a higher priority of the
// processes (Nice= in a systemd unit) helps more than either.
//
// To measure again:
//
//	go test ./cluster -run TestDetection -v -timeout 3h -detect 5m
func LocalConfig() Preset {
	return Preset{
		ProbeInterval: 300 * time.Millisecond, ProbeTimeout: 150 * time.Millisecond,
		SuspicionMult: 3, SuspicionMaxTimeoutMult: 1, RefuteTime: 300 * time.Millisecond, LeaseFor: 2 * time.Second, AwarenessMaxMultiplier: 2, IndirectChecks: 2,
		GossipInterval: 50 * time.Millisecond, GossipNodes: 3, GossipToTheDead: 15 * time.Second,
		PushPullInterval: 5 * time.Second, TCPTimeout: time.Second,
	}
}

// LANConfig is for machines of one data centre that may be busy: silent ones are
// gone after 5 to 9 s (measured: p50 6.6 s, max 7.1 s), and a pause of 4 s is forgiven.
func LANConfig() Preset {
	return Preset{
		ProbeInterval: time.Second, ProbeTimeout: 500 * time.Millisecond,
		SuspicionMult: 4, SuspicionMaxTimeoutMult: 2, RefuteTime: 500 * time.Millisecond, LeaseFor: 5 * time.Second, AwarenessMaxMultiplier: 4, IndirectChecks: 3,
		GossipInterval: 100 * time.Millisecond, GossipNodes: 3, GossipToTheDead: 30 * time.Second,
		PushPullInterval: 15 * time.Second, TCPTimeout: 3 * time.Second,
	}
}

// WANConfig is for members far from each other: silent ones are gone after 24 to
// 42 s, and a pause of 15 s is forgiven.
func WANConfig() Preset {
	return Preset{
		ProbeInterval: 4 * time.Second, ProbeTimeout: 2 * time.Second,
		SuspicionMult: 5, SuspicionMaxTimeoutMult: 2, RefuteTime: 2 * time.Second, LeaseFor: 24 * time.Second, AwarenessMaxMultiplier: 8, IndirectChecks: 3,
		GossipInterval: 400 * time.Millisecond, GossipNodes: 4, GossipToTheDead: 60 * time.Second,
		PushPullInterval: 45 * time.Second, TCPTimeout: 20 * time.Second,
	}
}

// Suspicion returns the shortest time between the first unanswered probe of a
// member and the verdict, in a cluster of n members.
func (p Preset) Suspicion(n int) time.Duration {
	scale := max(1, math.Log10(max(1, float64(n))))
	return time.Duration(scale * float64(p.SuspicionMult) * float64(p.ProbeInterval))
}

func (p Preset) leaseFor() time.Duration {
	if p.LeaseFor > 0 {
		return p.LeaseFor
	}
	return p.Suspicion(1) + p.RefuteTime
}

func (p Preset) memberlist() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval, c.ProbeTimeout = p.ProbeInterval, p.ProbeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = p.SuspicionMult, p.SuspicionMaxTimeoutMult
	c.AwarenessMaxMultiplier, c.IndirectChecks = p.AwarenessMaxMultiplier, p.IndirectChecks
	c.GossipInterval, c.GossipNodes, c.GossipToTheDeadTime = p.GossipInterval, p.GossipNodes, p.GossipToTheDead
	c.PushPullInterval, c.TCPTimeout = p.PushPullInterval, p.TCPTimeout
	// Packets are small, and each would cost some 100 kB of tables.
	c.EnableCompression = false
	return c
}
