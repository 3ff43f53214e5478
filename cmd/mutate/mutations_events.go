package main

const (
	eventWaitsGo    = "actors/run/eventwaits.go"
	journalEventsGo = "actors/journal/events.go"
	serverEventsGo  = "actors/server/events.go"
)

// heardMutations break rules of which events count for a wait; the simulation must
// notice.
var heardMutations = []mutation{
	{"events: count what came before the wait", []change{{journalEventsGo,
		"	return e.Seq > w.From || ", "	return e.Seq > 0 || "}}},
	{"events: look back for nothing", []change{{journalEventsGo,
		"!w.Since.IsZero() && Micros(e.At) >= Micros(w.Since)\n", "w.Since.IsZero() && e.Seq < w.From\n"}}},
}

// eventMutations break rules of how runs wait for events; the scripts of runs must
// notice.
var eventMutations = []mutation{
	{"events: record each event on which a condition fails", []change{{eventWaitsGo,
		"	if !ok || w.branches[stored.branch].event.failed != \"\" {", "	if !ok {"}}},
	{"events: forget a condition that failed in the next attempt", []change{{eventWaitsGo,
		"time.Millisecond, st.waits[key].failedCondition(id)}", "time.Millisecond, \"\"}"}}},
	{"events: leave a wait with the journal that is over", []change{{eventWaitsGo,
		"			changes = append(changes, EventWaitChange{ID: id, Over: true})\n", ""}}},
	{"events: count what came after the time of the wait", []change{{eventWaitsGo,
		"event.id == id && !time.UnixMicro(came.AtUs).After(w.deadline)\n", "event.id == id\n"}}},
	{"events: end a wait by its time before what is kept was looked at", []change{{callWaitsGo,
		"b.kind == messages.CallKind_CALL_KIND_EVENT && !m.events.sought(b)", "b.kind == messages.CallKind_CALL_KIND_EVENT && b.event.id == \"\""}}},
	{"events: do not look for what is kept after a wait is stored", []change{{eventWaitsGo,
		"	m.later(SeekEvents{Serial: e.serial, Waits: ids})\n", ""}}},
	{"events: look for what is kept before the wait is stored", []change{{eventWaitsGo,
		"	m.later(SeekEvents{Serial: e.serial, Waits: ids})\n", "	m.out = append(m.out, SeekEvents{Serial: e.serial, Waits: ids})\n"}}},
	{"events: take an answer for a wait that began after the question", []change{{eventWaitsGo,
		"s != nil && in.Of.Serial >= s.serial", "s != nil"}}},
	{"events: bring one only to an attempt that is live", []change{{eventWaitsGo,
		"	ok = waits && stored.branch <", "	ok = waits && m.s.Steps[stored.step].awaits(w) && stored.branch <"}}},
	{"events: leave memory before what is kept was looked at", []change{{presenceGo,
		" || m.seeksEvents() ||", " ||"}}},
	{"events: say that one has decided a wait before that is durable", []change{{eventWaitsGo,
		"	m.later(Reply{Token: in.Token, Decided: decided, Unproven: !decided})", "	m.out = append(m.out, Reply{Token: in.Token, Decided: decided, Unproven: !decided})"}}},
	{"events: do not tell the step that waits", []change{{eventWaitsGo,
		"		m.tellOf(stored.step, stored.key, w)\n", ""}}},
}

// deliveryMutations break rules of what servers do with events; the tests of servers
// must notice.
var deliveryMutations = []mutation{
	{"events: bring an event that does not meet the condition", []change{{serverEventsGo,
		"		case fits:\n			return deliveryOf(w, event)\n", "		case fits || event.ID != \"\":\n			return deliveryOf(w, event)\n"}}},
	{"events: look at the first page of waits alone", []change{{serverEventsGo,
		"		if len(page) < waitsPage {", "		if len(page) <= waitsPage {"}}},
	{"events: note as delivered what is not", []change{{serverEventsGo,
		"err == nil || !s.tryAgain(at) {", "err == nil || s.tryAgain(at) {"}}},
	{"events: leave to nobody what a publisher has left", []change{{serverEventsGo,
		"at < upTo && err == nil; pages++ {", "at < upTo && pages < 0; pages++ {"}}},
	{"events: bring nothing that is kept to a wait that looks back", []change{{serverEventsGo,
		"		if msg != nil {\n			came =", "		if msg != nil && msg.Failed != nil {\n			came ="}}},
	{"events: wake a run for each event on which its condition fails", []change{{serverEventsGo,
		"		ev.noteFailed(w)\n", ""}}},
	{"events: do not say that a condition has failed", []change{{serverEventsGo,
		"			d.conditionFailed(w, err)\n", ""}}},
}
