package quorum

import "time"

// Heartbeat is the newest one of a server, as it was read from the store.
type Heartbeat struct {
	Server string
	// Serial is another one in each heartbeat of a server.
	Serial uint64
	// Age by the store's clock.
	Age time.Duration
	// Partition of the server, and the address of its gossip.
	Partition Partition
	Address   string
	// CutOff: the server says that it is. Passive: it joins or leaves, and owns
	// nothing.
	CutOff, Passive bool
	// Replaced: a later process of the same server is there. What is left of this
	// one does not live.
	Replaced bool
}

// freshness knows which heartbeats are still written (Q8).
type freshness struct {
	read    time.Time
	written map[string]written
}

// written is when the newest heartbeat of a server was written, at the latest, by
// the clock of this process.
type written struct {
	serial uint64
	at     time.Time
}

// fresh returns those of the heartbeats, as they were read now, that are fresh.
func (f *freshness) fresh(now time.Time, beats []Heartbeat) []Heartbeat {
	next := make(map[string]written, len(beats))
	var out []Heartbeat
	for _, b := range beats {
		w := written{b.Serial, now.Add(-b.Age)}
		if last, known := f.written[b.Server]; known {
			switch {
			case last.serial == b.Serial:
				w.at = last.at
			case w.at.Before(f.read):
				// It is new since the last reading, whatever its age says.
				w.at = f.read
			}
		}
		next[b.Server] = w
		if now.Sub(w.at) <= freshFor {
			out = append(out, b)
		}
	}
	f.read, f.written = now, next
	return out
}
