package verdict

// Rule is a promise that can be broken; its value is its name in the report.
type Rule string

const (
	RuleLost           Rule = "lost"
	RuleNotEnded       Rule = "not_ended"
	RuleEndedTwice     Rule = "ended_twice"
	RuleRecordedTwice  Rule = "recorded_twice"
	RuleHardMoved      Rule = "hard_moved"
	RuleSoftMoved      Rule = "soft_moved"
	RuleStaleAccepted  Rule = "stale_accepted"
	RuleTwoBindings    Rule = "two_bindings"
	RuleRepeated       Rule = "repeated"
	RuleFalseLoss      Rule = "false_loss"
	RuleChildMisplaced Rule = "child_misplaced"
	RuleIneffective    Rule = "ineffective"
	RuleWrongOutput    Rule = "wrong_output"
	RuleIdempotency    Rule = "idempotency"
	RuleAttempts       Rule = "attempts"
	RuleHistory        Rule = "history"
	RuleStateUntold    Rule = "state_untold"
	RuleWaits          Rule = "waits"
	RuleRefused        Rule = "refused"
	RuleOverlap        Rule = "overlap"
	RuleRebuild        Rule = "rebuild"
	RuleHandoff        Rule = "handoff"
	RuleDrain          Rule = "drain"
	RuleSameID         Rule = "same_id"
	RuleLocal          Rule = "local"
	RuleTimedOut       Rule = "timed_out"
	RuleCalls          Rule = "calls"
	RuleMessages       Rule = "messages"
	RuleSuspended      Rule = "suspended"
	RuleEndStep        Rule = "end_step"
	RuleProgress       Rule = "progress"
	RuleQueries        Rule = "queries"
	RuleStreams        Rule = "streams"
)

// Rules in the order of the report.
var Rules = []Rule{
	RuleLost, RuleNotEnded, RuleEndedTwice, RuleRecordedTwice, RuleHardMoved, RuleSoftMoved, RuleStaleAccepted,
	RuleTwoBindings, RuleRepeated, RuleFalseLoss, RuleChildMisplaced, RuleIneffective, RuleWrongOutput,
	RuleIdempotency, RuleAttempts, RuleHistory, RuleStateUntold, RuleWaits, RuleRefused,
	RuleOverlap, RuleRebuild, RuleHandoff, RuleDrain, RuleSameID, RuleLocal, RuleTimedOut,
	RuleCalls, RuleMessages, RuleSuspended, RuleEndStep, RuleProgress, RuleQueries, RuleStreams,
}

var ruleTexts = map[Rule]string{
	RuleLost:           "a run whose start, event or spawn was acknowledged is known, and is what was asked for",
	RuleNotEnded:       "every run ends after the cluster has healed, as its input says",
	RuleEndedTwice:     "a run ends in one terminal state and stays as it is until it is replayed",
	RuleRecordedTwice:  "a step's result is recorded once",
	RuleHardMoved:      "a HARD run is executed on one worker id only",
	RuleSoftMoved:      "a SOFT run moves for a reason of the table, which is recorded and true",
	RuleStaleAccepted:  "no result of a lost attempt, an old epoch or another process is recorded",
	RuleTwoBindings:    "a run has one binding at a time, with epochs that grow by one",
	RuleRepeated:       "a step is executed again only after a retry, a timeout or the loss of its worker",
	RuleFalseLoss:      "a worker is given up only if something was done to it",
	RuleChildMisplaced: "a sticky child is bound to the worker that its parent's step ran on",
	RuleIneffective:    "an acknowledged cancel, replay or event has its effect",
	RuleWrongOutput:    "outputs are those that the input asks for",
	RuleIdempotency:    "one key or event starts one run; no run comes from nowhere",
	RuleAttempts:       "attempts are counted by one, and were executed where the history says, once, as the ledger says",
	RuleHistory:        "a history has no gaps, and its row agrees with it",
	RuleStateUntold:    "a step whose process has no state of the run is told so",
	RuleWaits:          "waits and watches outlive their server and tell the truth",
	RuleRefused:        "no valid call is refused",
	RuleOverlap:        "at most one process acts for a run at a time; one that was frozen is fenced by its token",
	RuleRebuild:        "a step that needs state runs where it was built, rebuilt or handed off; rebuilds change no result",
	RuleHandoff:        "state arrives as it was given, and who gave it does nothing more for the run",
	RuleDrain:          "a worker that drains is bound to nothing new, and does nothing after its deadline",
	RuleSameID:         "of the processes of one worker id one acts at a time",
	RuleLocal:          "local state is bound once, used by whom it is for, and released once, when nobody uses it",
	RuleTimedOut:       "no step fails for having waited: workers were there, and without a server its time stands still",
	RuleCalls:          "a call of a step whose result came back is not made again, and has that result in every execution",
	RuleMessages:       "a message that was acknowledged is there once, and is received once at most, in order; an event that came was pushed",
	RuleSuspended:      "an attempt is suspended while it waits, does nothing from then on, and its step runs again when something has come",
	RuleEndStep:        "an end step is executed once for each end of its run, after all other steps, and changes nothing of how that ends",
	RuleProgress:       "an attempt is given the newest progress that there is, never that of an older attempt",
	RuleQueries:        "a query is answered where its run is bound, from the run's own state, or says why not",
	RuleStreams:        "a stream has what its attempts wrote, without a gap and nothing twice in a section, and its readers get all of it",
}

// Text says what the rule promises.
func (r Rule) Text() string { return ruleTexts[r] }
