package main

const (
	peerGo   = "cluster/remote/peer.go"
	linkGo   = "cluster/remote/link.go"
	searchGo = "cluster/remote/search.go"
	relayGo  = "cluster/remote/relay.go"
	takesGo  = "cluster/remote/receiver.go"
)

// remoteMutations break rules of messages between nodes. The simulation has a model
// of them; the tests of nodes on a network in memory have to notice.
var remoteMutations = []mutation{
	{"remote: do not send again what was not answered", []change{{peerGo,
		"	for _, m := range p.unanswered.batches {", "	for _, m := range p.unanswered.batches[:0] {"}}},
	{"remote: do not notice that a link is silent", []change{{linkGo,
		"			if !l.waiting.Load() {", "			if true {"}}},
	{"remote: stay with the server that passes on", []change{{linkGo,
		"	if l.by != \"\" {\n		l.going.Go(l.seekDirect)", "	if l.by != \"\" && l.peer == nil {\n		l.going.Go(l.seekDirect)"}}},
	{"remote: give up with the server that passes on", []change{{peerGo,
		"	if l.by == \"\" || p.ctx.Err() != nil ", "	if l.by != p.address || p.ctx.Err() != nil "}}},
	{"remote: seek no other way before the direct one has failed", []change{{searchGo,
		"		if s.ticks >= s.detoursAfter {", "		if s.ticks < 0 {"}}},
	{"remote: seek another way to a process that is slow to say its name", []change{{searchGo,
		" || s.direct.accepted() {", " {"}}},
	{"remote: seek another way to a process that is slow", []change{{linkGo,
		"		if l.peer.accepts(l.ctx) {", "		if l.peer == nil {"}}},
	{"remote: wait for one's own silence when the other side comes by a server", []change{{takesGo,
		"		s.r.doubt(of.Address)\n", ""}}},
	{"remote: pass on to who is no member", []change{{relayGo,
		" || !r.known.PassesOn(to) {", " {"}}},
	{"remote: pass on what was passed on", []change{{relayGo,
		" || header(in, relayedByHeader) != \"\" ", " "}}},
	{"remote: pass on without a bound", []change{{relayGo,
		"n > messages.RelaysMax {", "n < 0 {"}}},
}
