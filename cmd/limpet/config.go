package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/worker"
)

// takesSettings is the annotation of a command that takes others than the
// shared settings.
const (
	takesSettings = "settings"
	takesNone     = "none"
	takesServer   = "server"
)

// takesServerSettings gives a command the flags of a server.
func (c *cli) takesServerSettings(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{takesSettings: takesServer}
	config.Register(cmd.Flags(), &c.settings, config.Server)
	return cmd
}

// scopeOf is what a command takes; false is nothing.
func scopeOf(cmd *cobra.Command) (config.Scope, bool) {
	switch cmd.Annotations[takesSettings] {
	case takesNone:
		return 0, false
	case takesServer:
		return config.Server, true
	}
	return config.Shared, true
}

// resolve completes the flags of a command from the environment and the file.
func (c *cli) resolve(cmd *cobra.Command) error {
	switch c.color {
	case "auto", "always", "never":
	default:
		return messages.Errorf(messages.CodeInvalidArgument, "--color is %q, not auto, always or never", c.color)
	}
	if scope, ok := scopeOf(cmd); ok {
		origins, err := config.Resolve(cmd.Flags(), &c.settings, scope, c.getenv)
		if err != nil {
			return err
		}
		c.origins = origins
	}
	c.address, c.secret, c.token = strings.Join(c.settings.Address, ","), c.settings.Secret, c.settings.Token
	return nil
}

func (c *cli) configCommand() *cobra.Command {
	return c.takesServerSettings(&cobra.Command{
		Use:   "config",
		Short: "Print the settings in force and where each comes from",
		Long: `Print the settings that ` + "`limpet server`" + ` would have with the same flags, environment
and file, and where each comes from. It refuses what the server would refuse by
its settings alone, so it checks a file before a server is started with it; give
it the secret, too. Secrets are not printed, nor is the password of the database.

A flag wins over the environment, the environment over the file, the file over
the default. An empty variable counts as not set. The file is YAML:

  store: postgres://limpet@10.0.0.20/limpet
  join: [10.0.0.11:7946, 10.0.0.12:7946]
  retention: 720h

Who can read a file that holds a secret is its owner and group, nobody else.

` + settingsHelp() + `
Environment of workers that are configured by worker.ConfigFromEnv:

` + workerHelp(),
		Example: `  limpet config
  limpet config --config /etc/limpet/server.yaml
  limpet config --listen 127.0.0.1:7180 --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(context.Context, []string) error { return c.printSettings() }),
	})
}

// settingsHelp lists the names of all settings.
func settingsHelp() string {
	rows := [][]string{{"FLAG", "ENVIRONMENT", "KEY IN FILE", "DEFAULT"}}
	for _, s := range config.Table {
		rows = append(rows, []string{"--" + s.Name, s.Env(), s.Key(), s.Default})
	}
	return columns(rows) + "\n"
}

// workerHelp lists the environment of a worker.
func workerHelp() string {
	var rows [][]string
	for _, v := range worker.Environment() {
		rows = append(rows, []string{v.Name, v.Help})
	}
	return columns(rows)
}

// columns of a help text, each as wide as its longest word.
func columns(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// setting in force, as JSON.
type setting struct {
	Name string `json:"name"`
	Env  string `json:"env"`
	Key  string `json:"key,omitempty"`
	// Value is text, a list of texts or a truth value; of a secret "set" or "".
	Value any `json:"value"`
	// Source is flag, environment, file or default; From names it.
	Source string `json:"source"`
	From   string `json:"from"`
}

func (c *cli) printSettings() error {
	if err := c.checkSettings(c.settings); err != nil {
		return err
	}
	shown := config.Show(&c.settings, c.origins, config.Server)
	if c.json {
		all := make([]setting, len(shown))
		for i, s := range shown {
			all[i] = setting{s.Name, s.Env(), s.Key(), s.Value, s.Origin.Source.String(), s.Origin.String()}
		}
		encoder := json.NewEncoder(c.out.raw())
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"settings": all})
	}
	t := &table{header: []string{"NAME", "VALUE", "FROM"}}
	for _, s := range shown {
		value := fmt.Sprint(s.Value)
		if list, ok := s.Value.([]string); ok {
			value = strings.Join(list, ", ")
		}
		t.add(plain(s.Name), plain(value), cell{s.Origin.String(), sourceColor(s.Origin.Source)})
	}
	c.printTable(t)
	return nil
}

func sourceColor(s config.Source) string {
	if s == config.Default {
		return dim
	}
	return ""
}
