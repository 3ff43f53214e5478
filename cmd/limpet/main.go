// Command limpet is Limpet on the command line: the server, and the commands that
// talk to one. The laboratory (bench, demo, chaos) is programs of its own, which
// this one does not contain.
//
// Data flow: arguments → cobra command, one file each → the API of a server →
// a table for eyes or JSON for programs on stdout; progress, errors and hints
// on stderr.
//
// Imports everything; nothing imports it.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
)

func main() {
	// The first signal ends the command in order, the second at once.
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore)
	c := &cli{
		in: os.Stdin, now: time.Now, zone: time.Local, getenv: os.Getenv,
		start: startServer,
	}
	c.writesTo(os.Stdout, isTerminal(os.Stdout), os.Stderr, isTerminal(os.Stderr))
	os.Exit(c.execute(ctx, os.Args[1:]))
}

// cli is what all commands share: the streams and the flags of the root.
type cli struct {
	in  io.Reader
	out *stream
	err *stream
	// now and zone are the clock that times are shown by.
	now    func() time.Time
	zone   *time.Location
	getenv func(string) string
	// start starts the server of the commands server and dev.
	start func(context.Context, config.Values, *slog.Logger) (runningServer, error)

	// settings are filled before the command's own code runs; origins say where
	// each comes from. address, secret and token are three of them.
	settings config.Values
	origins  config.Origins
	address  string
	secret   string
	token    string

	json  bool
	color string
	// began marks that the command's own code ran: what failed before was the
	// command line.
	began bool
}

func (c *cli) writesTo(out io.Writer, outTerminal bool, err io.Writer, errTerminal bool) {
	c.out, c.err = &stream{w: out, terminal: outTerminal, colored: c.colored}, &stream{w: err, terminal: errTerminal, colored: c.colored}
}

// isTerminal says whether a file is a terminal (or a device like one).
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
