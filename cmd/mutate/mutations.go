package main

// mutation breaks one rule.
type mutation struct {
	name    string
	changes []change
}

// change replaces a text that is in a file exactly once.
type change struct{ file, old, new string }

const (
	machineGo    = "actors/run/machine.go"
	clockGo      = "actors/run/clock.go"
	contactGo    = "actors/run/contact.go"
	presenceGo   = "actors/run/presence.go"
	workersGo    = "actors/run/workers.go"
	suspendGo    = "actors/run/suspend.go"
	suspectGo    = "actors/run/suspect.go"
	attemptsGo   = "actors/run/attempts.go"
	leavingGo    = "actors/run/leaving.go"
	moveGo       = "actors/run/move.go"
	placingGo    = "actors/run/placing.go"
	roomGo       = "actors/run/room.go"
	commandsGo   = "actors/run/commands.go"
	childrenGo   = "actors/run/children.go"
	callsGo      = "actors/run/calls.go"
	mailboxGo    = "actors/run/mailbox.go"
	callWaitsGo  = "actors/run/callwaits.go"
	childEndsGo  = "actors/run/childends.go"
	rebuildGo    = "actors/run/rebuild.go"
	handoffGo    = "actors/run/handoff.go"
	drainGo      = "actors/run/drain.go"
	timersGo     = "actors/run/timers.go"
	applyGo      = "actors/run/apply.go"
	slotsGo      = "actors/slots/attempts.go"
	heldGo       = "actors/slots/held.go"
	slotsLeaseGo = "actors/slots/lease.go"
	slotsDrainGo = "actors/slots/drain.go"
	queriesGo    = "actors/slots/queries.go"
	peekGo       = "actors/local/peek.go"
	foundGo      = "actors/run/found.go"
	progressGo   = "actors/run/progress.go"
	tellsGo      = "actors/slots/progress.go"
	keptGo       = "actors/slots/kept.go"
	suspectsGo   = "actors/slots/suspects.go"
	slotsCoreGo  = "actors/slots/core.go"
	placeGo      = "actors/placement/worker.go"
	placeClassGo = "actors/placement/class.go"
	placeAskGo   = "actors/placement/question.go"
	admissionGo  = "actors/placement/admission.go"
	claimGo      = "actors/roster/claim.go"
	doubtGo      = "actors/roster/doubt.go"
	tellGo       = "actors/roster/tell.go"
	rosterGo     = "actors/roster/core.go"
	timelineGo   = "actors/timeline/timeline.go"
	leaseGo      = "cluster/lease/granter.go"
	holderGo     = "cluster/lease/holder.go"
)

var mutations = []mutation{
	{"run: forget what an attempt told right before its end", []change{{attemptsGo,
		"	m.progressed(i, r.Serial, r.Progress)\n", ""}}},
	{"run: give an attempt no progress of the one before", []change{{placingGo,
		", st.Def.HeartbeatMs, st.progress()", ", st.Def.HeartbeatMs, nil"}}},
	{"slots: take what a function returns after the lease has ended", []change{{slotsGo,
		"(failure != nil || a.lapsed):", "failure != nil:"}}},
	{"timeline: take a clock that is set for the passing of time", []change{{timelineGo,
		"		return later(mine, r.Record.Engine), true\n", "		return later(mine, r.Record.Engine.Add(r.Wall.Sub(r.Record.Wall))), true\n"}}},
	{"signals: drop what a start has for a run that is there", []change{{commandsGo,
		"		err := m.takeSignal(in.Signal)\n		m.later(Reply{Token: in.Token, Existed: err == nil, Err: err})", "		var err error\n		m.later(Reply{Token: in.Token, Existed: err == nil, Err: err})"}}},
	{"run: send before the entry is durable", []change{{machineGo,
		"	m.appending = true\n", "	m.appending = true\n	m.out = append(m.out, m.turn.after...)\n	m.turn.after = nil\n"}}},
	{"run: acknowledge a result before it is durable", []change{{attemptsGo,
		"		m.turn.acks = append(m.turn.acks, SendWorker{to,", "		m.out = append(m.out, SendWorker{to,"}}},
	{"run: accept a stale attempt", []change{{attemptsGo,
		"st.Phase == Live && st.Attempt == msg.GetAttempt() &&", "st.Phase == Live &&"}}},
	{"run: accept the result of an old epoch", []change{
		{attemptsGo, "st.Phase == Live && st.Attempt == msg.GetAttempt() &&", "st.Phase == Live &&"},
		{attemptsGo, "if !live || !sameProcess(m.s.Steps[i].Worker, from) || m.s.Steps[i].Epoch != r.Epoch {", "if !live {"}}},
	{"room: send more than the worker has slots", []change{{roomGo,
		"		r.slots = max(2, ", "		r.slots = max(1000, "}}},
	{"run: rebind a HARD run", []change{{placingGo,
		"case b.Lost && m.s.soft():", "case b.Lost:"}}},
	{"run: keep the epoch at a rebind", []change{{placingGo,
		"Epoch: m.s.Epoch + 1, Worker: to", "Epoch: max(m.s.Epoch, 1), Worker: to"}}},
	{"run: repeat what runs when a server comes up", []change{{commandsGo,
		"	for i := range s.Steps {\n		st := &s.Steps[i]\n", "	m.loseAttempts(messages.Reason_REASON_WORKER_LOST)\n	for i := range s.Steps {\n		st := &s.Steps[i]\n"}}},
	{"run: let execution timeouts pass while no server is there", []change{{timersGo,
		"return later(end, m.contacts[i].takenUpAt).Add(m.cfg.ExecutionGrace), true", "return end.Add(m.cfg.ExecutionGrace), true"}}},
	{"run: let schedule timeouts pass while no server is there", []change{{timersGo,
		"return m.absences.after(since, timeout), waits", "return since.Add(timeout), waits"}}},
	{"run: fail a step that was not tried since the run was taken up", []change{{timersGo,
		"ok && m.due(at) && m.due(m.triedBy(i)) {", "ok && m.due(at) {"}}},
	{"run: let execution timeouts pass while a step waits for its child", []change{{timersGo,
		"|| m.s.Binding.Lost || c.waitingChild {", "|| m.s.Binding.Lost {"}}},
	{"slots: let execution timeouts pass while a step waits for its child", []change{{slotsCoreGo,
		"		a.standStill(now)\n", ""}}},
	{"run: refuse a spawn without knowing its attempt", []change{{commandsGo,
		"st != nil && msg.Attempt > st.Attempt {", "st == nil && msg.Attempt > 1 {"}}},
	{"children: end without telling those that end with the run", []change{{childrenGo,
		"	return c.OnParentEnd == messages.ParentEnd_PARENT_END_CANCEL\n", "	return m.s.Cancel != nil && c.OnParentEnd == messages.ParentEnd_PARENT_END_CANCEL\n"}}},
	{"children: cancel those that are left to themselves", []change{{childrenGo,
		"	return c.OnParentEnd == messages.ParentEnd_PARENT_END_CANCEL\n", "	return c.OnParentEnd != messages.ParentEnd_PARENT_END_UNSPECIFIED\n"}}},
	{"children: take one that was not answered for for one that knows", []change{{childrenGo,
		"	m.children.tell(c.RunID, m.now)\n", "	m.children.tell(c.RunID, m.now)\n	m.children.note(c.RunID)\n"}}},
	{"calls: say that a call is recorded before it is durable", []change{{callsGo,
		"	m.later(Reply{Token: in.Token, Err: err})\n	m.dieBehind(err)\n}\n\n// mayRecord", "	m.out = append(m.out, Reply{Token: in.Token, Err: err})\n	m.dieBehind(err)\n}\n\n// mayRecord"}}},
	{"calls: know only what the attempt itself has recorded", []change{{callsGo,
		"	if err == nil && ok {\n", "	if err == nil && ok && found.attempt == msg.Attempt {\n"}}},
	{"calls: record a call again that comes again", []change{{callsGo,
		"err == nil && !again {", "err == nil && (again || !again) {"}}},
	{"calls: forget them when the attempt fails", []change{{applyGo,
		"	st.Failures++\n", "	st.Failures++\n	st.calls, st.recorded = nil, 0\n"}}},
	{"mailbox: record a message again that comes again", []change{{mailboxGo,
		"_, again := m.s.signaled.of(msg.MessageId); err == nil && !again {", "err == nil {"}}},
	{"mailbox: give a message to a wait whose attempt is over", []change{{callWaitsGo,
		"return (st.Phase == Live || st.Phase == Suspended) && w.attempt == st.Attempt", "return !st.Phase.Ended()"}}},
	{"mailbox: say that there is no news without having looked", []change{{callWaitsGo,
		"len(m.turn.events) == events", "len(m.turn.events) < events"}}},
	{"waits: take a sleep for over a second before it is", []change{{callWaitsGo,
		"	}\n	return b.until\n}", "	}\n	return b.until.Add(-time.Second)\n}"}}},
	{"waits: let a wait begin anew with each attempt", []change{{callWaitsGo,
		"if waits = waits && before.kind == msg.Kind; !waits {\n		before =", "if waits = waits && before.kind != msg.Kind; !waits {\n		before ="}}},
	{"waits: leave a step suspended when the last part of what it waits for has come", []change{{suspendGo,
		"(w.all == \"\" || !st.hasPart(key.name, w.all))", "w.all == \"\""}}},
	{"sends: give the message of each attempt an id of its own", []change{{"actors/run/sends.go",
		"m.s.Generation, msg.Step,", "m.s.Generation+int(msg.Attempt), msg.Step,"}}},
	{"children: spawn anew for each spawn of an attempt", []change{{commandsGo,
		"c == nil || st == nil || c.attempt >= st.firstTry {", "c == nil || st == nil || c.attempt > msg.Attempt {"}}},
	{"children: spawn anew although the earlier one goes on", []change{{commandsGo,
		"c == nil || in.Unsuccessful == c.RunID && c.RunID == m.MayReplace(msg) {", "c == nil || c.RunID == m.MayReplace(msg) {"}}},
	{"children: give the child of another input back", []change{{commandsGo,
		"c.InputHash == \"\" || c.InputHash == hash", "c.InputHash != \"\" || c.InputHash == hash"}}},
	{"run: take an older process for a restarted worker", []change{{workersGo,
		"case !b.Lost && in.Worker.Incarnation < b.Worker.Incarnation:", "case !b.Lost && in.Worker.Incarnation == b.Worker.WorkerId:"}}},
	{"run: take a draining worker for a lost one", []change{{workersGo,
		"	case WorkerDraining:\n		m.workerDraining(in.Worker)", "	case WorkerDraining:\n		m.workerGone(in.Worker, messages.Reason_REASON_WORKER_LOST)"}}},
	{"run: move although an attempt runs", []change{{moveGo,
		"	case !m.anyLive():\n		move := m.leaving.move", "	case true:\n		move := m.leaving.move"}}},
	{"run: send a step when one parent has succeeded", []change{{applyGo,
		"		if !s.Steps[p].HasSucceeded() {\n			return false\n		}\n	}\n	return true",
		"		if s.Steps[p].HasSucceeded() {\n			return true\n		}\n	}\n	return len(st.parents) == 0"}}},
	{"run: retry once too often", []change{{attemptsGo,
		"st.Failures < st.Def.Retries", "st.Failures <= st.Def.Retries"}}},
	{"run: forget what wakes a dormant run", []change{{presenceGo,
		"		d.WakeOnUp = m.s.Binding.Worker.WorkerId\n", ""}}},
	{"run: never send a dispatch again", []change{{contactGo,
		"	return c.sentAt.Add(resend)", "	return time.Time{}"}}},
	{"run: charge a suspect for a loss in which it had not begun", []change{{suspectGo,
		"	return !c.queued && !st.suspect()\n", "	return !c.queued\n"}}},
	{"run: move from a busy worker as from one whose slots are held", []change{{moveGo,
		"	if m.slotsHeld() {\n		patience = 0", "	if m.s.soft() {\n		patience = 0"}, {moveGo,
		"	if m.slotsHeld() {\n		m.leaving.move.reason", "	if m.s.soft() {\n		m.leaving.move.reason"}}},
	{"slots: execute several suspects at a time", []change{{suspectsGo,
		"	return s.turn == a\n", "	return true\n"}}},
	{"rebuild: send what needs state without it", []change{{placingGo,
		"!m.ready(&m.s.Steps[i]) || len(m.s.missing(i)) > 0 {", "!m.ready(&m.s.Steps[i]) {"}}},
	{"rebuild: replace the recorded output", []change{{attemptsGo,
		"case f == nil && !r.Canceled && st.Rebuild != nil:", "case f == nil && !r.Canceled && st.Rebuild != nil && m.s.Ended():"}}},
	{"rebuild: keep what was built when state is lost", []change{{rebuildGo,
		"		s.Steps[i].BuiltEpoch = 0\n", ""}}},
	{"rebuild: trust what was built while state was lost", []change{{rebuildGo,
		"	if st.spoilt {", "	if st.spoilt && st.Epoch == 0 {"}}},
	{"rebuild: send a builder before those that it builds on", []change{
		{rebuildGo, "	if !first {", "	if !first && st.Epoch == 0 {"},
		{placingGo, "!m.ready(&m.s.Steps[i]) || len(m.s.missing(i)) > 0 {", "!m.ready(&m.s.Steps[i]) || m.s.Steps[i].Rebuild == nil && len(m.s.missing(i)) > 0 {"}}},
	{"hand-off: take state for moved that stayed behind", []change{{handoffGo,
		"		if !l.Handoff {", "		if l.Name == \"\" {"}}},
	{"hand-off: leave without the state", []change{{leavingGo,
		"	if !m.handsOff() {\n		m.bind(", "	if m.s.soft() {\n		m.bind("}}},
	{"hand-off: ask while an attempt is live", []change{{drainGo,
		"	if m.anyLive() {\n		return\n	}\n	since", "	since"}}},
	{"drain: move a HARD run", []change{{drainGo,
		"	return m.leaving.draining && m.s.soft() && ", "	return m.leaving.draining && "}}},
	{"drain: go back to the worker that was just left", []change{
		{leavingGo, "	m.gone.add(b.Worker, m.now)\n", ""},
		{leavingGo, "	if !b.Lost || !m.s.soft() || !m.now", "	if !b.Lost || !m.s.hard() || !m.now"}}},
	{"worker: execute under an epoch that was handed off", []change{{slotsCoreGo,
		"	case c.handedOffUnder(d):", "	case c.handedOffUnder(d) && d.TakeUp:"}}},
	{"worker: forget the tombstone of a result", []change{{slotsGo,
		"	a.run.setMark(a.step, a.number, a.epoch, state)\n	c.rest", "	a.run.marks = nil\n	c.rest"}}},
	{"worker: send a result only once", []change{{slotsGo,
		"	c.send(Address{}, a.run.id, a.result)\n	a.resends++", "	a.resends++"}}},
	{"worker: run more than the slots", []change{{slotsCoreGo,
		"	if !unwinds && c.taken < c.slots && c.mayStart() && c.mayBegin(", "	if c.taken <= c.slots && c.mayStart() && c.mayBegin("}}},
	{"worker: start an attempt that was revoked", []change{{slotsGo,
		"		r.setMark(step, number, 0, markWithdrawn)\n", ""}}},
	{"placement: grant more than the slots", []change{{placeGo,
		"w.taken < w.slots", "w.taken <= w.slots"}}},
	{"placement: grant the worker that is to be left", []change{{placeClassGo,
		"	if w.id() == cl.exclude {", "	if false {"}}},
	{"run: let the time of a run go back", []change{{clockGo,
		"; at.After(c.now) {", "; at.After(c.now) || at.Before(c.now) {"}}},
	{"placement: take back what another activation asked", []change{{placeAskGo,
		"	case old.asker != from:\n", "	case old.asker != from && old.number > m.GetQuestion():\n"}}},
	{"placement: let a question that was taken back oust another", []change{{placeAskGo,
		"	case early.asker == from && number <= early.number:\n", "	case early.asker == from && number < 0*early.number:\n"},
		{placeAskGo, "	if q.seen {\n		return\n	}\n	for", "	if q.number > 0 {\n		return\n	}\n	for"}}},
	{"placement: admit beside a process that lives", []change{{admissionGo,
		"		if current || r.State != RivalJoining {", "		if r.State == RivalDraining {"}}},
	{"placement: admit while the former process drains", []change{{admissionGo,
		"	delete(c.entrants, workerID)\n	if draining {", "	if draining {\n		e := c.probing(p)\n		e.rivals = e.rivals[1:]\n		c.advance(e)\n		return c.take()\n	}\n	delete(c.entrants, workerID)\n	if draining {"}}},
	{"placement: go on counting a worker that has gone as a holder", []change{{placeGo,
		"	c.held.gone(w)\n", ""}}},
	{"placement: admit although the first process answers", []change{{admissionGo,
		"	delete(c.entrants, workerID)\n	if draining {", "	if !draining {\n		e := c.probing(p)\n		e.rivals = e.rivals[1:]\n		c.advance(e)\n		return c.take()\n	}\n	delete(c.entrants, workerID)\n	if draining {"}}},
	{"roster: tell a verdict that is not final at once", []change{{tellGo,
		"	case gone != nil && gone.final:", "	case gone != nil:"}}},
	{"roster: tell a doubt while a lease is held", []change{{doubtGo,
		"	case hold > 0:\n", "	case hold > time.Hour:\n"}}},
	{"roster: take every verdict for final", []change{
		{tellGo, "verdict{gone, c.cfg.Ended(p.worker.id, p.ref.Incarnation)}", "verdict{gone, true}"}}},
	{"roster: do not tell a process that it is superseded", []change{{claimGo,
		"	c.do(Supersede{p.ref, p.by})\n", ""}}},
	{"roster: do not tell that a process has vanished", []change{{rosterGo,
		"	c.tellGone(p)\n", "	p.told = run.WorkerGone\n"}}},
	{"lease: call a worker lost before its leases have ended", []change{{leaseGo,
		"	left := until.Add(g.cfg.For).Sub(now)\n", "	left := until.Sub(now)\n"}}},
	{"lease: act beyond the end of the lease", []change{{holderGo,
		"	held = now.Before(h.Until())\n", "	held = now.Before(h.Until().Add(h.cfg.For))\n"}}},
}
