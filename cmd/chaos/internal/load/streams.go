package load

import (
	"context"
	"fmt"

	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// wordsStream is the stream that the first steps of some runs write.
const wordsStream = "words"

// streams says that the run writes one.
func (p *Plan) streams() bool { return p.Number%3 == 0 }

// writesStream writes pieces at the beginning and at the end of an execution, and notes in
// the ledger what it is about to write, and what is durable.
func (r *role) writesStream(ctx sdk.Context, n int64, plan *Plan, act func() error) error {
	if r.index != 0 || !plan.streams() {
		return act()
	}
	l, out, wrote := r.process.ledger, ctx.Stream(wordsStream), 0
	write := func() {
		word := ""
		for range 3 {
			wrote++
			word = fmt.Sprintf("%s/%d", l.ID(n), wrote)
			l.Did(n, verdict.Writes, word)
			if _, err := out.WriteString(word); err != nil {
				return
			}
		}
		if out.Flush() == nil {
			l.Did(n, verdict.Wrote, word)
		}
	}
	write()
	err := act()
	if ctx.Err() == nil {
		write()
	}
	return err
}

// reads follows the stream of a run to its end.
func (o *operation) reads(run *sdk.Run) {
	if run == nil || !o.plan.streams() {
		return
	}
	o.call(verdict.Call{Act: verdict.ActRead, Runs: []string{run.ID()}}, false, func(ctx context.Context, c *verdict.Call) (err error) {
		c.Pieces, err = readStream(ctx, o.other.Run(run.ID()), true)
		return err
	})
}

func readStream(ctx context.Context, run *sdk.Run, follow bool) (pieces []verdict.Piece, err error) {
	for p, err := range run.ReadStream(ctx, wordsStream, &sdk.ReadStreamOptions{Follow: follow}) {
		if err != nil {
			return pieces, err
		}
		pieces = append(pieces, verdict.Piece{Section: p.Section, Number: p.Number, Step: p.Step, Attempt: p.Attempt, Text: string(p.Data)})
	}
	return pieces, nil
}

// streamOf reads the stream of a run whose history says that there is one.
func streamOf(ctx context.Context, run *sdk.Run, r *verdict.Run) {
	for _, entry := range r.Entries {
		for _, ev := range entry.Events {
			if ev.GetStreamOpened() == nil {
				continue
			}
			pieces, err := readStream(ctx, run, false)
			if err != nil && messages.CodeOf(err) != messages.CodeUnknownStream {
				r.Error = err.Error()
			}
			r.Stream = pieces
			return
		}
	}
}
