package main

const (
	activationGo = "actors/activation/activation.go"
	effectGo     = "actors/activation/effect.go"
	backlogGo    = "actors/activation/backlog.go"
	runBacklogGo = "actors/run/backlog.go"
	retireGo     = "actors/activation/retire.go"
	hostGo       = "actors/activation/host.go"
	shardsGo     = "actors/activation/shards.go"
	recoverGo    = "actors/activation/recover.go"
	wakeGo       = "actors/activation/wake.go"
	sweepGo      = "actors/activation/sweep.go"
	startGo      = "actors/activation/start.go"
	lineGo       = "actors/activation/line.go"
)

// activationMutations break rules of what is around the machines of runs.
var activationMutations = []mutation{
	{"host: do not take up the runs of shards", []change{{shardsGo,
		"		h.recover(gained, now)\n", ""}}},
	{"host: forget who watches workers that went unnoticed", []change{{recoverGo,
		"	for _, id := range in.Workers {", "	for _, id := range in.Workers[:0] {"}}},
	{"host: forget who waits for workers that came before", []change{{recoverGo,
		"		for _, id := range h.facts.UpWorkers() {", "		for _, id := range h.facts.UpWorkers()[:0] {"}}},
	{"host: wake nobody by news of a worker", []change{{wakeGo,
		"	if worker.State != run.WorkerDraining {", "	if worker.State == run.WorkerDraining {"}}},
	{"host: forget the times of dormant runs", []change{{wakeGo,
		"	if at.IsZero() || !h.searchAt.IsZero()", "	if at.After(now) || at.IsZero() || !h.searchAt.IsZero()"}}},
	{"line: read nobody who is parked", []change{{lineGo,
		"	case l.parked && l.asking <= window/2:", "	case l.parked && l.asking < 0:"}}},
	{"host: do not sweep", []change{{sweepGo,
		"	if !now.Before(h.aside[in.RunID]) {", "	if now.Before(h.aside[in.RunID]) {"}}},
	{"start: give up what is there already", []change{{startGo,
		"	case code == messages.CodeJournalConflict && s.tries < startTries:", "	case code == messages.CodeJournalConflict && s.tries < 0:"}}},
}

// scripted are rules whose breaking a cluster makes up for: the scripts of their
// package must notice.
var scripted = []mutation{
	{"run: never suspect a step", []change{{suspectGo,
		"st.Def.LossesMax()/2\n", "st.Def.LossesMax()\n"}}},
	{"slots: record what was canceled and returned after the lease had ended", []change{{slotsGo,
		"(failure != nil || a.lapsed):", "failure != nil:"}}},
	{"calls: keep them at a replay", []change{{applyGo,
		"	if named && st.keepsCalls() {", "	if named || !named {"}}},
	{"calls: clear those that mended code goes on with", []change{{applyGo,
		"	if named && st.keepsCalls() {", "	if named && !named {"}}},
	{"calls: refuse them once the run is canceled", []change{{callsGo,
		"	case st == nil || st.Phase != Live ||", "	case st == nil || m.s.Cancel != nil || st.Phase != Live ||"}}},
	{"children: start a new run of a retired workflow", []change{{commandsGo,
		"		if in.NoNew != nil {\n", "		if false {\n"}}},
	{"children: keep a child back because its workflow has been retired since", []change{{commandsGo,
		"	c, err := m.spawnable(in)\n	if err != nil {", "	c, err := m.spawnable(in)\n	if err == nil {\n		err = in.NoNew\n	}\n	if err != nil {"}}},
	{"roster: tell who began to watch after the servers were asked", []change{{doubtGo,
		"	to := slices.DeleteFunc(d.asked,", "	d.asked, d.waiting = append(d.asked, d.waiting...), nil\n	to := slices.DeleteFunc(d.asked,"}}},
	{"roster: forget who began to watch after the servers were asked", []change{{doubtGo,
		"	if len(d.waiting) > 0 {", "	if len(d.waiting) > 1_000_000 {"}}},
	{"roster: take an id over while another process has a lease", []change{{claimGo,
		"	if hold > 0 {", "	if hold > time.Hour {"}}},
	{"roster: do not wait for a later process to say who it is", []change{{claimGo,
		"		if other != p && other.told != run.WorkerGone && other.info == nil && w.outranks(other, p) {", "		if p == nil && w.outranks(other, p) {"}}},
	{"roster: call a process gone that is joining", []change{{doubtGo,
		"	case inView && d.worker.verdictOn(d.incarnation) == nil:", "	case inView && d.asked == nil:"}}},
	{"roster: take an id over from a later process without asking it", []change{
		{claimGo, "		if h := w.holder(); h != nil && !w.outranks(p, h) {", "		if h := w.holder(); h != nil && h == p {"},
		{claimGo, "	case p.info != nil && (h == nil || h == first || w.outranks(p, h)):", "	case p.info != nil:"}}},
	{"line: park nobody at its start", []change{{startGo,
		"		if l != nil && h.full(l) {", "		if l != nil && h.full(l) && id == \"\" {"}}},
	{"line: park nobody who waits again", []change{{lineGo,
		"		h.tell(a, run.Park{}, nil)\n		return\n", ""}}},
	{"line: forget who leaves memory in its turn", []change{{hostGo,
		"		h.leftParked(in.Activation, now)\n", ""}}},
	{"line: find nobody who was parked before", []change{{lineGo,
		"	for _, name := range in.Lines {", "	for _, name := range in.Lines[:0] {"}}},
	{"line: let go of shards with first entries on their way", []change{{shardsGo,
		"			r.waits[p] = true\n", ""}}},
	{"line: start twice what is on its way", []change{{startGo,
		"	if p := h.parking[id]; p != nil {", "	if p := h.parking[id]; p != nil && p.state == nil {"}}},
	{"activation: send under the newest lease term", []change{{effectGo,
		"		term, known := a.facts.LeaseTerm(act.To, a.mark)\n		if !known && !m.TakeUp {", "		term, known := a.facts.LeaseTerm(act.To, a.facts.LeaseMark())\n		if !known && !m.TakeUp {"}}},
	{"activation: take the mark when the append is stored", []change{{activationGo,
		"		a.mark, a.failures = a.appendMark, 0\n", "		a.mark, a.failures = a.facts.LeaseMark(), 0\n"}}},
	{"activation: take the mark when the run is loaded", []change{{activationGo,
		"		a.m, err = run.Restore(", "		a.mark = a.facts.LeaseMark()\n		a.m, err = run.Restore("}}},
	{"activation: answer what is held before the append is stored", []change{{retireGo,
		"		a.held.Add(e, e.message)\n", "		a.pass(e)\n"}}},
	{"activation: retire without passing on", []change{{retireGo,
		"	for _, e := range a.held.Take() {\n		a.pass(e)\n", "	for _, e := range a.held.Take() {\n		_ = e\n"}}},
	{"activation: lose what comes early", []change{{activationGo,
		"	early := a.early.Take()\n", "	early := a.early.Take()[:0]\n"}}},
	{"activation: keep all that comes while the journal is out of reach", []change{{activationGo,
		"	case a.turnedAway(", "	case a.retired && a.turnedAway("}}},
	{"room: send all inputs at once", []change{{roomGo,
		"return r.slots > 0 && r.bytes > 0 }", "return r.slots > 0 }"}}},
	{"room: take what was answered for unread", []change{{contactGo,
		"c.heard, c.heardAt, c.unread = true, now, 0 }", "c.heard, c.heardAt = true, now }"}}},
	{"room: let a step that waits for its child take the place of another", []change{{roomGo,
		" && !c.waitingChild {", " {"}}},
	{"room: stand before others with what waited in its own run", []change{{placingGo,
		"return later(st.ReadyAt, m.fullAt) }", "return st.ReadyAt }"}}},
	{"room: ask for all steps at once", []change{{placingGo,
		"		case !room.any(), isNew && questions <= 0:", "		case !room.any():"}}},
	{"room: answer a large input no sooner than a small one", []change{{slotsGo,
		" || a.dispatch.SizeVT() >= AnsweredBytes {", " {"}}},
	{"run: keep every copy of what a worker repeats", []change{{runBacklogGo,
		"	if key.kind == 0 {", "	if key.kind > 0 {"}}},
	{"worker: start while results pile up", []change{{slotsGo,
		"c.kept < c.cfg.ResultsBytesMax }", "c.kept >= 0 }"}}},
	{"activation: count what waits and not what has gone", []change{{backlogGo,
		"	if now := a.waiting(); now != a.counted {", "	if now := a.waiting(); now > a.counted {"}}},
	{"activation: take a load's answer after retiring", []change{{activationGo,
		"	if a.m != nil || a.retired {", "	if a.m != nil {"}}},
	{"activation: leave while an append is in flight", []change{{retireGo,
		"	if a.m.Appending() {\n		a.leaving = true\n		return\n	}\n", ""}}},
	{"activation: stay when the server begins anew", []change{{activationGo,
		"		if msg.Anew || !a.facts.Owns(a.RunID) {", "		if !a.facts.Owns(a.RunID) {"}}},
	{"activation: do not load again after a failure", []change{{hostGo,
		"	h.later(wait, reload{in.RunID, in.Failures + 1})\n", ""}}},
	{"activation: ignore news of a worker that comes too late", []change{{retireGo,
		"			a.act(PassOn{})\n", ""}}},
	{"host: take the mark after the reading", []change{{recoverGo,
		"read: &in.Loaded, mark: in.Of.mark}", "read: &in.Loaded, mark: h.facts.LeaseMark()}"}}},
	{"host: tell the new owner before the last append", []change{{shardsGo,
		"	if len(r.waits) == 0 {\n		h.offer(r)\n	}\n}\n\n// gone", "	h.offer(r)\n}\n\n// gone"}}},
	{"host: answer before shards are taken up", []change{{shardsGo,
		"	if h.taking > 0 {\n		return\n	}\n", ""}}},
	{"host: activate runs of other servers", []change{{hostGo,
		"	if !h.owned[h.cfg.ShardOf(a.RunID)] {\n		return false\n	}\n", ""}}},
	{"host: wake without bound", []change{{wakeGo,
		"	if h.crowded(w) {", "	if len(w.woken) < 0 {"}}},
	{"start: give up what others had asked for", []change{{startGo,
		"	case code == messages.CodeUnknownRun && s.tries < startTries:", "	case code == messages.CodeUnknownRun && s.tries < 0:"}}},
}
