package verdict

import (
	"fmt"

	"github.com/limpetrun/limpet/messages"
)

// wrote is a run whose first step writes a stream, fails, and writes again.
func wrote(s *scene) {
	t := s.begin("wrote", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	for attempt := 1; attempt <= 2; attempt++ {
		t.dispatch("a", int32(attempt), "")
		t.execute("a", attempt)
		for n := 1; n <= 3; n++ {
			text := fmt.Sprintf("%d of %d", n, attempt)
			t.does("a", attempt, Writes, text)
			// What the first attempt wrote last has not come through.
			if attempt == 2 || n < 3 {
				t.run.Stream = append(t.run.Stream, Piece{attempt, uint64(n), "a", attempt, text})
			}
			if n == 2 {
				t.does("a", attempt, Wrote, text)
			}
		}
		if attempt == 1 {
			t.fail("a", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
		}
	}
	s.call(Call{Act: ActRead, Runs: []string{"wrote"}, Outcome: Ambiguous, Code: GivenUp, Pieces: t.run.Stream[:1:1]})
	t.succeed("a", 2)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
	s.call(Call{Act: ActRead, Runs: []string{"wrote"}, Pieces: append([]Piece(nil), t.run.Stream...)})
	s.call(Call{Act: ActRead, Runs: []string{"plain"}, Outcome: Refused, Code: messages.CodeUnknownStream, Error: "there is none"})
}

func (d *drawn) wrote() *Run { return d.of("wrote") }

func (d *drawn) reads(outcome Outcome) *Call {
	return d.call(func(c *Call) bool { return c.Act == ActRead && c.Outcome == outcome })
}

// streamCorruptions break the rule about streams.
var streamCorruptions = []corruption{
	{RuleStreams, "a stream has a gap", func(d *drawn) {
		s := d.wrote().Stream
		d.wrote().Stream = append(s[:1:1], s[2:]...)
	}},
	{RuleStreams, "a stream has a piece twice", func(d *drawn) {
		s := d.wrote().Stream
		d.wrote().Stream = append(append(s[:2:2], s[1]), s[2:]...)
	}},
	{RuleStreams, "a piece is stored twice, under numbers that follow each other", func(d *drawn) {
		s := d.wrote().Stream
		again := s[1]
		again.Number++
		d.wrote().Stream = append(append(s[:2:2], again), s[2:]...)
	}},
	{RuleStreams, "a byte of a piece is another one", func(d *drawn) {
		s := d.wrote().Stream
		s[d.r.IntN(len(s))].Text += " "
	}},
	{RuleStreams, "an attempt writes to the section of the one before", func(d *drawn) {
		s := d.wrote().Stream
		s[2].Section, s[2].Number = 1, 3
	}},
	{RuleStreams, "what was durable is gone", func(d *drawn) {
		s := d.wrote().Stream
		d.wrote().Stream = s[:3]
	}},
	{RuleStreams, "a reader gets a piece less at the end", func(d *drawn) {
		c := d.reads(Acknowledged)
		c.Pieces = c.Pieces[:len(c.Pieces)-1]
	}},
	{RuleStreams, "a reader misses a piece", func(d *drawn) {
		c := d.reads(Acknowledged)
		c.Pieces = append(c.Pieces[:1:1], c.Pieces[2:]...)
	}},
	{RuleStreams, "a reader gets other bytes", func(d *drawn) { d.reads(Ambiguous).Pieces = []Piece{{1, 1, "a", 1, "x"}} }},
	{RuleRefused, "a reader is refused", func(d *drawn) { d.reads(Refused).Code = messages.CodeInvalidArgument }},
}
