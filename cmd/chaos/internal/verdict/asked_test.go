package verdict

import (
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// asked is a run that tells how far it is, fails and goes on from there, and is asked where
// it is meanwhile.
func asked(s *scene) {
	t := s.begin("asked", soft)
	s.call(Call{Act: ActAsk, Runs: []string{"asked"}, Outcome: Refused, Code: messages.CodeNotBound, Error: "it is not bound"})
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.does("a", 1, Tells, "1.1")
	t.does("a", 1, Told, "1.1")
	t.does("a", 1, Tells, "1.2")
	t.does("a", 1, Told, "1.2")
	s.call(Call{Act: ActAsk, Runs: []string{"asked"}, Answer: Answer{Run: "asked", Worker: "w1", Epoch: 1, Of: "asked"}})
	t.fail("a", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	t.does("a", 2, Given, "1.2")
	t.does("a", 2, Tells, "2.1")
	t.succeed("a", 2)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

func (d *drawn) asked(outcome Outcome) *Call {
	return d.call(func(c *Call) bool { return c.Act == ActAsk && c.Outcome == outcome })
}

func (d *drawn) secondOfAsked() *ledger.Execution {
	return pick(d, d.evidence.Executions, func(e *ledger.Execution) bool { return e.Run == "asked" && e.Step == "a" && e.Attempt == 2 })
}

// askedCorruptions break the rules about progress, as it is given, and about queries.
var askedCorruptions = []corruption{
	{RuleProgress, "an attempt is given an older progress than was told", func(d *drawn) { d.secondOfAsked().Did[0].Value = "1.1" }},
	{RuleProgress, "an attempt is given no progress", func(d *drawn) { d.secondOfAsked().Did = d.secondOfAsked().Did[1:] }},
	{RuleProgress, "an attempt is given what nobody has told", func(d *drawn) { d.secondOfAsked().Did[0].Value = "1.3" }},
	{RuleQueries, "a query is answered from the state of another run", func(d *drawn) { d.asked(Acknowledged).Answer.Of = "plain" }},
	{RuleQueries, "a query is answered for another run", func(d *drawn) { d.asked(Acknowledged).Answer.Run = "plain" }},
	{RuleQueries, "a query is answered by another worker", func(d *drawn) { d.asked(Acknowledged).Answer.Worker = "w2" }},
	{RuleQueries, "a query is answered under an epoch that there was not", func(d *drawn) { d.asked(Acknowledged).Answer.Epoch = 2 }},
	{RuleQueries, "a query is answered before the run is bound", func(d *drawn) {
		c := d.asked(Acknowledged)
		c.Begin = d.of("asked").Entries[0].At.Add(-2 * slack)
		c.End = c.Begin
	}},
	{RuleQueries, "a query is told of an end that was not yet", func(d *drawn) {
		c := d.asked(Refused)
		c.Code, c.End = messages.CodeRunFinished, d.of("asked").Entries[0].At.Add(-2*slack)
	}},
	{RuleRefused, "a query is refused for what it is not", func(d *drawn) { d.asked(Refused).Code = messages.CodeUnknownQuery }},
}
