package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
)

// TestErrorsAreToldOnceAndHaveTheirCode ends a command in every way.
func TestErrorsAreToldOnceAndHaveTheirCode(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		args []string
		err  error
		code int
		says string
	}{
		{name: "all holds", code: ExitOK},
		{name: "help", args: []string{"--help"}, code: ExitOK, says: "Examples:\n  lab --try"},
		{name: "broken", err: fmt.Errorf("run: %w", ErrBroken), code: ExitBroken},
		{name: "told", err: Exit(42), code: 42},
		{name: "flag", args: []string{"--no-such"}, code: ExitUsage, says: "lab: unknown flag: --no-such\nhint: see `lab --help`\n"},
		{name: "argument", args: []string{"more"}, code: ExitUsage, says: "hint: see `lab --help`"},
		{name: "input", err: messages.Errorf(messages.CodeInvalidArgument, "--runs is 0"), code: ExitUsage, says: "lab: INVALID_ARGUMENT: --runs is 0\n"},
		{name: "input of a server", err: fmt.Errorf("drain: %w", messages.Errorf(messages.CodeInvalidArgument, "no")), code: ExitFailed, says: "lab: drain: INVALID_ARGUMENT: no\n"},
		{name: "hint", err: WithHint(errors.New("no source"), "install Go"), code: ExitFailed, says: "lab: no source\nhint: install Go\n"},
		{name: "interrupted", ctx: over, err: context.Canceled, code: ExitInterrupted, says: "lab: interrupted\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var said strings.Builder
			cmd := &cobra.Command{Use: "lab", Example: "  lab --try", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return tc.err }}
			cmd.SetOut(&said)
			cmd.SetErr(&said)
			ctx := tc.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			if code := Execute(ctx, cmd, tc.args); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(said.String(), tc.says) || tc.says == "" && said.Len() > 0 {
				t.Errorf("said %q, want %q", &said, tc.says)
			}
		})
	}
}
