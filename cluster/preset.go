package cluster

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

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

// PresetNamed returns LocalConfig, LANConfig or WANConfig by the names local,
// lan and wan, under which a configuration knows them; else INVALID_ARGUMENT.
func PresetNamed(name string) (Preset, error) {
	switch name {
	case "local":
		return LocalConfig(), nil
	case "lan":
		return LANConfig(), nil
	case "wan":
		return WANConfig(), nil
	}
	return Preset{}, messages.Errorf(messages.CodeInvalidArgument, "preset %q is not local, lan or wan", name)
}
