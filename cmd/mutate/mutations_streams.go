package main

const (
	journalStreamsGo = "actors/journal/streams.go"
	runStreamsGo     = "actors/run/streams.go"
	bufferGo         = "actors/stream/stream.go"
)

// storedMutations break rules of what stores take of streams; the suite of stores must
// notice.
var storedMutations = []mutation{
	{"streams: store pieces of a section that is over", []change{{journalStreamsGo,
		"	case s.Over:\n", "	case s.Over && s.Attempt == 0:\n"}}},
	{"streams: store pieces twice", []change{{journalStreamsGo,
		"	fresh = w.Pieces[s.Pieces+1-w.First:]\n", "	fresh = w.Pieces\n"}}},
	{"streams: store pieces behind a gap", []change{{journalStreamsGo,
		"	case w.First > s.Pieces+1:\n", "	case w.First > s.Pieces+1 && s.Attempt == 0:\n"}, {journalStreamsGo,
		"	fresh = w.Pieces[s.Pieces+1-w.First:]\n", "	fresh = w.Pieces[max(s.Pieces+1, w.First)-w.First:]\n"}}},
	{"streams: cut what goes on", []change{{"actors/journal/memory_streams.go",
		"s.Over && s.began <= upTo", "s.Over"}}},
	{"streams: store pieces of another attempt", []change{{journalStreamsGo,
		"s.Step != w.Step || s.Attempt != w.Attempt:", "s.Step != w.Step:"}}},
}

// streamMutations break rules of who writes a stream; the scripts of runs must notice.
var streamMutations = []mutation{
	{"streams: let a section outlast its attempt", []change{{runStreamsGo,
		"st.Phase == Live && st.Attempt == of.Attempt {", "st.Attempt == of.Attempt {"}}},
	{"streams: let two steps write at a time", []change{{runStreamsGo,
		"	case of.Open && (of.Step != msg.Step || of.Attempt != msg.Attempt):", "	case of.Open && of.Step == \"\":"}}},
	{"streams: have a retry write to the section before", []change{{runStreamsGo,
		"		section = of.Section + 1\n", "		section = of.Section\n"}}},
	{"streams: let an attempt write before that is durable", []change{{runStreamsGo,
		"	m.later(Reply{Token: in.Token, Section: section, Err: err})\n", "	m.out = append(m.out, Reply{Token: in.Token, Section: section, Err: err})\n"}}},
}

// writtenMutations break rules of streams that readers rely on; the simulation must notice.
var writtenMutations = []mutation{
	{"written: take pieces of a section that is over", []change{{journalStreamsGo,
		"	case s.Over:\n", "	case s.Over && s.Attempt == 0:\n"}}},
	{"written: let a section outlast its attempt", []change{{runStreamsGo,
		"st.Phase == Live && st.Attempt == of.Attempt {", "st.Attempt == of.Attempt {"}}},
	{"written: have a retry write to the section before", []change{{runStreamsGo,
		"		section = of.Section + 1\n", "		section = of.Section\n"}}},
	{"written: let an attempt write before that is durable", []change{{runStreamsGo,
		"	m.later(Reply{Token: in.Token, Section: section, Err: err})\n", "	m.out = append(m.out, Reply{Token: in.Token, Section: section, Err: err})\n"}}},
	{"written: forget what came while a batch was in flight", []change{{bufferGo,
		"	b.pieces = append([][]byte(nil), b.pieces[b.sent:]...)\n", "	b.pieces = nil\n"}}},
	{"written: count the pieces of a batch as one", []change{{bufferGo,
		"	b.stored += uint64(b.sent)\n", "	b.stored++\n"}}},
}
