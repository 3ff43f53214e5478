package main

import (
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/sdk"
)

func (c *cli) runStreamCommand() *cobra.Command {
	var (
		opts sdk.ReadStreamOptions
		from string
	)
	cmd := &cobra.Command{
		Use:   "stream RUN NAME",
		Short: "Read what the steps of a run write to a stream",
		Long: `Print a stream of a run as it was written, byte by byte; a terminal gets what it would
act upon as escapes. With --follow it goes on with what is written, until the run has ended,
at another server if its own is lost. Each attempt that writes begins a section: where one
follows another, a line on stderr says so. So it does where pieces are not there any more,
which were written by links of the run that were cut.

--from names the first piece that is wanted: SECTION.NUMBER, as --json has them, or NUMBER in
section 1. --json prints one object a line for each piece: its data in base64, and as text if
it is UTF-8; with "cut" in the place of what is not there any more.`,
		Example: `  limpet run stream 01k9w2c5m0 tokens --follow
  limpet run stream 01k9w2c5m0 tokens --from 2.17 --json`,
		Args:              twoArgs("the id of a run", "the name of a stream"),
		ValidArgsFunction: c.completesArg(runIDs()),
		RunE: c.does(func(ctx context.Context, args []string) (err error) {
			if from != "" {
				if opts.From, err = sdk.ParseStreamPlace(from); err != nil {
					return err
				}
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			return c.stream(ctx, conn, args[0], args[1], &opts)
		}),
	}
	cmd.Flags().BoolVar(&opts.Follow, "follow", false, "go on with what is written, until the run has ended")
	cmd.Flags().StringVar(&from, "from", "", "the first piece, as SECTION.NUMBER (default 1.1)")
	return cmd
}

// stream prints pieces until there are no more.
func (c *cli) stream(ctx context.Context, conn *connection, runID, name string, opts *sdk.ReadStreamOptions) error {
	conn.line = c.newProgress()
	defer conn.line.clear()
	p := piecePrinter{cli: c}
	for piece, err := range conn.client.Run(runID).ReadStream(ctx, name, opts) {
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return conn.explain(err)
		}
		conn.line.clear()
		if err := p.print(piece); err != nil {
			return err
		}
	}
	return p.flush()
}

// piecePrinter prints pieces one after the other.
type piecePrinter struct {
	*cli
	section int
	// rest is the beginning of a character, the end of which is in the next piece.
	rest []byte
}

func (p *piecePrinter) print(piece *sdk.StreamPiece) error {
	switch {
	case p.json:
		return p.printPieceJSON(piece)
	case piece.Cut:
		if err := p.flush(); err != nil {
			return err
		}
		return p.err.printf("\n-- what was before section %d was cut, with the links of the run that wrote it\n", piece.Section)
	}
	if p.section != 0 && p.section != piece.Section {
		if err := p.flush(); err != nil {
			return err
		}
		if err := p.err.printf("\n-- section %d: step %s, attempt %d\n", piece.Section, piece.Step, piece.Attempt); err != nil {
			return err
		}
	}
	p.section = piece.Section
	if !p.out.terminal {
		_, err := p.out.raw().Write(piece.Data)
		return err
	}
	data := append(p.rest, piece.Data...)
	whole := len(data) - unfinished(data)
	p.rest = append([]byte(nil), data[whole:]...)
	return p.show(data[:whole])
}

// flush prints what is left.
func (p *piecePrinter) flush() error {
	rest := p.rest
	p.rest = nil
	return p.show(rest)
}

// show prints for a terminal.
func (p *piecePrinter) show(data []byte) error {
	text := strings.Split(string(data), "\n")
	for i := range text {
		text[i] = printable(strings.TrimSuffix(text[i], "\r"))
	}
	return p.out.printf("%s", styled(strings.Join(text, "\n")))
}

// unfinished is how many bytes at the end are the beginning of a character.
func unfinished(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if tail := data[len(data)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

func (p *piecePrinter) printPieceJSON(piece *sdk.StreamPiece) error {
	line := struct {
		Attempt int    `json:"attempt"`
		Cut     bool   `json:"cut,omitempty"`
		Data    []byte `json:"data"`
		Number  uint64 `json:"number,string"`
		Section int    `json:"section"`
		Step    string `json:"step"`
		Text    string `json:"text,omitempty"`
	}{Attempt: piece.Attempt, Cut: piece.Cut, Data: piece.Data, Number: piece.Number, Section: piece.Section, Step: piece.Step}
	if utf8.Valid(piece.Data) {
		line.Text = string(piece.Data)
	}
	encoder := json.NewEncoder(p.out.raw())
	encoder.SetEscapeHTML(false)
	return encoder.Encode(line)
}
