// Package run is the core of a workflow run: a state folded from its journal,
// and a machine that turns inputs (commands, worker messages, time) into
// journal entries and actions. It knows no clock, network or goroutine: time
// comes in as an argument, work leaves as data.
//
// Data flow: Input → Machine.Handle → decide → apply in memory → Append action
// → (durable) Appended input → the actions that the entry caused.
//
//   - Inputs that arrive while an append is in flight wait, of copies of what a
//     worker says one. They are decided together afterwards, into one entry.
//   - If the append fails for good the machine is thrown away with its state.
//   - No more of a run is sent at once than there is room for: see room.go.
//   - A question to placement is not an effect: it goes out at once. A turn that
//     asks one holds its append for the answer, which is immediate, so that
//     "started, bound, dispatched" is one entry.
//
// Where it is:
//
//	state.go apply.go check.go     the state, how events fold into it, invariants
//	config.go                      the times of a machine, and what it may ask
//	input.go machine.go turn.go    what comes in, what goes out, and one turn
//	backlog.go                     what waits for the append in flight
//	calls.go callwaits.go          durable calls of steps, and what they wait for
//	mailbox.go sends.go            messages to the run, and those that its steps send
//	childends.go                   how a parent learns of the end of a child
//	commands.go children.go        start, take-up, cancel, replay, spawn; how a run
//	                               parts with its children at its end
//	placing.go questions.go        bindings and dispatches; what placement is asked
//	room.go                        how much of a run is sent at once
//	attempts.go contact.go         what a worker says of an attempt
//	workers.go gone.go             news of worker processes
//	suspect.go                     which step it is that ends them
//	leaving.go move.go drain.go    how a SOFT run leaves its worker: a busy one, one
//	handoff.go                     that drains; the local state that it takes along
//	rebuild.go                     steps that are run again for their local state
//	ending.go                      the end step, and what follows
//	progress.go                    how far steps say that they are
//	streams.go                     who writes to streams of the run
//	continuing.go                  how a run goes on as new
//	carrying.go same.go            what it keeps then, so that earlier links can be cut
//	suspend.go                     attempts that wait and are let go meanwhile
//	timers.go clock.go presence.go deadlines, time, and when a run leaves memory
//	waiting.go waits.go            what a run waits for, in words, and for how long
//	found.go                       where its local state is, for who asks that
//	offers.go absence.go           what nobody offers; times without any server
//
// Invariants, checked by State.Check and, for transitions, CheckTransition:
//
//	I1  a run that ended stays as it is until it is replayed
//	I2  a step has at most one live attempt; its number is the step's newest
//	I3  a live attempt of a sticky run was dispatched under the binding of its
//	    epoch, and no two live attempts of a sticky run are on two workers
//	I4  a HARD run never changes its worker id, except by a replay
//	I5  epochs grow by one; the binding's epoch is the newest
//	I6  a step is sent only after all its parents have succeeded
//	I7  a run that ended has no live attempt and no step that can still run
//	I8  retries that were charged never exceed the step's retries plus one
//	I9  only a step that has succeeded is rebuilt, and its recorded result, with
//	    the time of its end, stays as it is
//	I10 a step that needs state is sent only when those of its ancestors that
//	    build it have worked under its epoch, or were handed over to it
//	I11 no attempt is live when state is handed off, and none is sent under that
//	    epoch any more
//	I12 a call of a step is recorded once, for a live attempt, and stays recorded
//	    until the step has ended for good or is replayed
//	I13 a message is received by one call at most, in the order of those of its name
//	I14 one record decides a wait: nothing else ends it but the end of its step
//	I15 an attempt is suspended only while a call of it waits; the step is sent
//	    again only after one of these was decided, or the run was canceled
//	I16 an end step is sent only once the outcome is decided and all other steps have
//	    ended; the run ends with that outcome, after the end step
//	I17 the progress of a step never goes back, to that of an older attempt or
//	    within one, until the step is replayed
//	I18 a run goes on as new only while no attempt is live and no step has failed, and
//	    keeps its binding, its messages, its streams and the children that may not have
//	    ended
//	I19 a stream is written by one live attempt at a time: its sections follow each
//	    other one by one, each over with its attempt
//	I20 what is left of a history whose earlier links were cut folds to the same state
//
// Imports only messages.
package run
