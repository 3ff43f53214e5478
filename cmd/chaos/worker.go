package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/chaos/internal/ground"
	"github.com/limpetrun/limpet/cmd/chaos/internal/load"
	"github.com/limpetrun/limpet/cmd/internal/program"
	"github.com/limpetrun/limpet/messages"
)

// workerProcess is the command of a worker process: this executable again.
func workerProcess(executable, ledgers, preset string, slots int) func(ground.WorkerSite) *exec.Cmd {
	return func(s ground.WorkerSite) *exec.Cmd {
		return exec.Command(executable, "worker", "--id", s.ID, "--join", strings.Join(s.Join, ","), "--bind", s.Bind, "--gossip", s.Gossip,
			"--advertise-host", s.Host, "--slots", strconv.Itoa(slots), "--ledgers", ledgers, "--preset", preset)
	}
}

func workerCommand() *cobra.Command {
	var c load.WorkerConfig
	var preset string
	cmd := &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Secret = os.Getenv("LIMPET_SECRET")
			var err error
			if c.Preset, err = cluster.PresetNamed(preset); err != nil {
				return err
			}
			c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
			c.Ready = func(incarnation string) {
				_ = json.NewEncoder(os.Stdout).Encode(map[string]string{"incarnation": incarnation})
			}
			// The worker sees to signals itself. What it gave up when its grace was
			// over is an orderly end, too: HARD runs may wait for it that long.
			err = load.RunWorker(context.WithoutCancel(cmd.Context()), c)
			if err != nil {
				fmt.Fprintln(os.Stderr, "chaos worker:", err)
			}
			if err != nil && (messages.CodeOf(err) != messages.CodeWorkerLost || cmd.Context().Err() == nil) {
				return program.Exit(program.ExitFailed)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.ID, "id", "", "")
	flags.StringSliceVar(&c.Join, "join", nil, "")
	flags.StringVar(&c.Bind, "bind", "", "")
	flags.StringVar(&c.Gossip, "gossip", "", "")
	flags.StringVar(&c.AdvertiseHost, "advertise-host", "", "")
	flags.IntVar(&c.Slots, "slots", 0, "")
	flags.StringVar(&preset, "preset", "local", "")
	flags.StringVar(&c.LedgerDir, "ledgers", "", "")
	return cmd
}
