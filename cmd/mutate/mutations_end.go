package main

const (
	endingGo     = "actors/run/ending.go"
	continuingGo = "actors/run/continuing.go"
	carryingGo   = "actors/run/carrying.go"
)

// endMutations break rules of the end of runs.
var endMutations = []mutation{
	{"end: let the state go before the end step", []change{{endingGo,
		"		m.children.stay() // It may spawn others.\n",
		"		m.children.stay()\n		if w := m.s.Binding.Worker; w != nil {\n			m.later(SendWorker{w, &messages.RunReleased{RunId: m.s.RunID, Epoch: m.s.Binding.Epoch}})\n		}\n"}}},
	{"end: have a cancel of the end step change the outcome", []change{{endingGo,
		"	if m.s.Ending != nil {\n		outcome", "	if m.s.Ending != nil && m.s.Cancel == nil {\n		outcome"}}},
	{"end: end a canceled run without its end step", []change{{commandsGo,
		"		case st.awaitsEnd() && !m.s.Cancel.WithoutEndStep:\n			continue\n", ""}}},
	{"end: decide the outcome while steps are retried", []change{{machineGo,
		"(st.Phase.Ended() || st.awaitsEnd())", "(st.Phase.Ended() || st.Phase == Backoff || st.awaitsEnd())"}}},
	{"end: end the run when its end step was sent", []change{{endingGo,
		"		m.advance()\n		return\n", "		m.advance()\n"}}},
}

// continueMutations break rules of runs that go on as new.
var continueMutations = []mutation{
	{"continue: drop what was not received", []change{{continuingGo,
		"	s.signaled.turn(s.mailbox)\n", "	s.signaled.turn(s.mailbox)\n	s.mailbox, s.unread = nil, 0\n"}}},
	{"continue: while others are executed", []change{{continuingGo,
		"m.s.Ending != nil || m.anyLive() ||", "m.s.Ending != nil ||"}}},
	{"continue: let go of the binding", []change{{continuingGo,
		"	s.Continued++\n", "	s.Continued++\n	s.Binding = Binding{}\n"}}},
	{"continue: although a step has failed", []change{{continuingGo,
		"m.s.failed() != nil || m.s.reruns()", "m.s.reruns()"}}},
}

// cutMutations break what is left of a history whose earlier links were cut.
var cutMutations = []mutation{
	{"cut: let go of messages that were not received", []change{{carryingGo,
		"	return cut, kept[:sort", "	return cut, kept[:0*sort"}}},
	{"cut: the change-over that a history is to begin with", []change{{carryingGo,
		"	cut = s.links[at].Entry - 1\n", "	cut = s.links[at].Entry\n"}}},
	{"cut: forget the messages that were carried on", []change{{carryingGo,
		"		s.mailbox[l.Name] = append(s.mailbox[l.Name], letter{l.MessageId, l.Entry})\n", ""}}},
	{"cut: count attempts anew", []change{{carryingGo,
		"			st.Attempt, st.lost = k.Attempt, k.Lost\n", "			st.lost = k.Lost\n"}}},
	{"cut: forget a binding", []change{{carryingGo,
		"	if b := c.Binding; b != nil {", "	if b := c.Binding; b == nil {"}}},
	{"cut: forget that the worker is lost", []change{{carryingGo,
		"			Lost: b.Lost, LostReason: b.LostReason, LostAt:", "			LostReason: b.LostReason, LostAt:"}}},
	{"cut: forget the children", []change{{carryingGo,
		"		s.applySpawned(k)\n", ""}}},
}

// continueScripted break such rules where scripts notice.
var continueScripted = []mutation{
	{"continue: before what a replay names is executed", []change{{continuingGo,
		" || m.s.reruns() {", " {"}}},
	{"continue: forget the ids of messages at each change-over", []change{{continuingGo,
		"	ids.before, ids.now = kept, nil\n", "	ids.before, ids.now = nil, nil\n"}}},
	{"continue: compare a start with the input of the newest link", []change{{continuingGo,
		"		return s.firstInput\n", "		return s.Start.Input\n"}}},
	{"cut: forget the streams", []change{{carryingGo,
		"		s.Streams = append(s.Streams, Stream{Name: of.Stream, Section: of.Section, Step: of.Step, Attempt: of.Attempt})\n", "		_ = of\n"}}},
	{"continue: from an end step", []change{{callsGo,
		"(st.isEnd() || len(call.GetOutput()) == 0)", "len(call.GetOutput()) == 0"}}},
}

// endScripted break such rules where scripts notice.
var endScripted = []mutation{
	{"end: leave a busy worker, and the state that is there", []change{{moveGo,
		" || m.s.Ending != nil {", " {"}}},
	{"end: take what failed or was canceled for steps that left no state", []change{{endingGo,
		"st.Epoch > s.WorkedEpoch {", "st.Epoch > s.WorkedEpoch && st.HasSucceeded() {"}}},
	{"end: take what was withdrawn before it began for what has left state", []change{{applyGo,
		"	case *messages.Event_AttemptRevoked:\n		st.Phase = Ready\n		st.leftNothing()\n", "	case *messages.Event_AttemptRevoked:\n		st.Phase = Ready\n"}}},
	{"end: cancel the end step by a cancel that comes twice", []change{{commandsGo,
		"	case m.s.Ending != nil && !in.WithoutEndStep:", "	case false:"}}},
	{"end: have an end step for a child that never began", []change{{commandsGo,
		"Reason: in.Cancel.Reason, WithoutEndStep: true}}})", "Reason: in.Cancel.Reason}}})"}}},
	{"end: build state for an end step", []change{{"actors/local/keeper.go",
		"	if v == nil && w.ask.Takes {", "	if v == nil && w.ask.Takes && k.stopped {"}}},
}
