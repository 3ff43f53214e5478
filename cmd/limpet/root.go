package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

const defaultAddress = "127.0.0.1:7080"

// execute runs a command line and returns the exit code of the process.
func (c *cli) execute(ctx context.Context, args []string) int {
	root := c.rootCommand()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	return c.exit(ctx, command, err)
}

func (c *cli) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "limpet",
		Short: "A durable workflow engine whose runs come back to the worker that holds their state",
		Long: `Limpet runs durable workflows on a cluster of workers. A sticky run comes back to
the one worker that holds its state: SOFT moves when that worker is lost, HARD
waits for it.

A flag with a name in brackets may also be given by that variable of the
environment, or by a file (--config); ` + "`limpet config --help`" + ` has the list.
NO_COLOR in the environment means no colours.

` + exitCodesHelp,
		Example: `  limpet dev                                       # a server to try things out
  limpet run start index-and-ask --input '{"dir":"/src"}' --wait
  limpet run list --status running`,
		Version:       readVersion().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.resolve(cmd) },
	}
	root.SetIn(c.in)
	root.SetOut(c.out.raw())
	root.SetErr(c.err.raw())
	root.SetVersionTemplate("limpet {{.Version}}\n")
	flags := root.PersistentFlags()
	config.Register(flags, &c.settings, config.Shared)
	flags.BoolVar(&c.json, "json", false, "print JSON for programs")
	flags.StringVar(&c.color, "color", "auto", "colours: auto, always or never")
	root.SetGlobalNormalizationFunc(byOtherName)
	root.AddCommand(
		c.serverCommand(), c.devCommand(), c.configCommand(),
		c.runCommand(), c.watchCommand(), c.eventCommand(),
		c.workerCommand(), c.memberCommand(), c.workflowCommand(), c.caCommand(), c.tokenCommand(), c.auditCommand(),
	)
	version := c.versionCommand()
	version.Annotations = map[string]string{takesSettings: takesNone}
	root.AddCommand(version)
	return root
}

// otherNames of flags, which people try first.
var otherNames = map[string]string{"metadata": "meta", "root": "roots"}

func byOtherName(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if proper, ok := otherNames[name]; ok {
		name = proper
	}
	return pflag.NormalizedName(name)
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		Example: commands[0].Example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	g.AddCommand(commands...)
	return g
}

func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "unknown command %q for %q; did you mean %s?", name, cmd.CommandPath(), strings.Join(near, " or "))
	}
	return messages.Errorf(messages.CodeInvalidArgument, "unknown command %q for %q", name, cmd.CommandPath())
}

// action is the code of a command.
type action func(ctx context.Context, args []string) error

// does wraps an action for cobra.
func (c *cli) does(run action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.began = true
		return run(cmd.Context(), args)
	}
}

// oneArg wants exactly one argument and says which.
func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return errors.New("missing argument: " + what)
		case 1:
			return nil
		}
		return errors.New("too many arguments: want one, " + what)
	}
}

// twoArgs is oneArg for two.
func twoArgs(first, second string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return errors.New("missing arguments: " + first + ", and " + second)
		case 1:
			return errors.New("missing argument: " + second)
		case 2:
			return nil
		}
		return errors.New("too many arguments: want two, " + first + " and " + second)
	}
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
