// Package program is the main function of a program of the laboratory: it runs
// one cobra command and turns its error into a line on stderr and an exit code.
//
// Data flow: arguments → the command → an error → "name: what went wrong", a
// hint, an exit code.
//
// Invariant: what has been told already is told once (ErrBroken, Exit).
//
// Imports only messages.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
)

// Exit codes.
const (
	ExitOK          = 0
	ExitBroken      = 1
	ExitUsage       = 2
	ExitFailed      = 3
	ExitInterrupted = 130
)

// ExitCodesHelp is the part of a help text that says what the codes mean.
const ExitCodesHelp = `Exit status: 0 all holds, 1 a promise was broken, 2 wrong use, 3 not possible,
130 interrupted.`

// ErrBroken says that a promise was not kept. What and where has been printed.
var ErrBroken = errors.New("not every promise was kept")

// Exit ends the program with a code. Why has been printed.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Hinted is an error with a hint that says what to do next.
type Hinted struct {
	error
	hint string
}

// WithHint adds a hint to an error.
func WithHint(err error, hint string) *Hinted { return &Hinted{err, hint} }

func (h *Hinted) Unwrap() error { return h.error }

// Main runs the command with the arguments of the process and exits. The first
// signal ends the command in order, the second at once.
func Main(cmd *cobra.Command) {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore)
	os.Exit(Execute(ctx, cmd, os.Args[1:]))
}

// Execute runs the command, prints its error and returns the exit code.
func Execute(ctx context.Context, cmd *cobra.Command, args []string) int {
	began := false
	cmd.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var exit Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, ErrBroken):
		return ExitBroken
	case ctx.Err() != nil:
		cmd.PrintErrf("%s: interrupted\n", cmd.Name())
		return ExitInterrupted
	}
	cmd.PrintErrf("%s: %v\n", cmd.Name(), err)
	var hinted *Hinted
	switch {
	case errors.As(err, &hinted):
		cmd.PrintErrln("hint:", hinted.hint)
	case !began:
		cmd.PrintErrf("hint: see `%s --help`\n", cmd.Name())
	}
	if !began || refused(err) {
		return ExitUsage
	}
	return ExitFailed
}

// refused says that the command refused its own input. An error with the same
// code inside another one is a server's.
func refused(err error) bool {
	coded, ok := err.(*messages.Error)
	return ok && coded.Code == messages.CodeInvalidArgument
}

// IsTerminal says whether a file is a terminal, or a device like one.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
