package main

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) runStartCommand() *cobra.Command {
	var (
		input  inputFlags
		signal inputFlags
		wait   waitFlags
		req    api.StartRunRequest
	)
	cmd := &cobra.Command{
		Use:   "start WORKFLOW",
		Short: "Start a run; it is durable when the command returns",
		Example: `  limpet run start index-and-ask --input '{"dir":"/src"}'
  limpet run start index-and-ask --input-file corpus.json --wait --timeout 5m
  limpet run start charge --input '{"order":7}' --key order-7   # once, however often it is called
  limpet run start chat --key user-7 --signal said --signal-payload '"hi"'   # the run of that key has the message either way`,
		Args:              oneArg("the name of a workflow"),
		ValidArgsFunction: c.completesArg(workflowNames(startsRuns)),
		RunE: c.does(func(ctx context.Context, args []string) error {
			if err := wait.check(); err != nil {
				return err
			}
			payload, err := input.read(c.in)
			if err != nil {
				return err
			}
			if req.SignalPayload, err = signal.read(c.in); err != nil {
				return err
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			req.Workflow, req.Input = args[0], payload
			started, err := call(ctx, conn, conn.StartRun, &req)
			if err != nil {
				return err
			}
			if wait.wait {
				return c.finish(ctx, conn, started.GetRunId(), wait)
			}
			return c.printStarted(started)
		}),
	}
	input.add(cmd, "input")
	signal.add(cmd, "signal-payload")
	cmd.Flags().StringVar(&req.SignalName, "signal", "", "a message of this name: the run of the key gets it if it is there, else it is started with it; needs --key")
	cmd.Flags().StringVar(&req.SignalMessageId, "signal-id", "", "message id: sent again with the same id the run has it once")
	wait.add(cmd)
	cmd.Flags().StringVar(&req.IdempotencyKey, "key", "", "idempotency key: a second start with the same key returns the first run")
	cmd.Flags().Int32Var(&req.Priority, "priority", 0, "1 (high) to 3 (low); 0 means the workflow's")
	cmd.Flags().StringToStringVar(&req.Metadata, "meta", nil, "metadata, as key=value; may be repeated")
	return cmd
}

func (c *cli) printStarted(started *api.StartRunResponse) error {
	if c.json {
		return c.printJSON(started)
	}
	verb := "started"
	if started.GetExisted() {
		verb = "exists already"
	}
	c.out.printf("run %s %s\n", started.GetRunId(), verb)
	if c.out.terminal {
		c.err.printf("%s\n", c.err.paint(dim, "watch it with: limpet run watch "+started.GetRunId()))
	}
	return nil
}

// inputFlags say where JSON comes from: an argument, a file or stdin.
type inputFlags struct {
	name string
	text string
	file string
}

func (i *inputFlags) add(cmd *cobra.Command, name string) {
	i.name = name
	cmd.Flags().StringVar(&i.text, name, "", name+" as JSON")
	cmd.Flags().StringVar(&i.file, name+"-file", "", name+" from a file with JSON; - reads stdin")
}

func (i *inputFlags) read(stdin io.Reader) ([]byte, error) {
	if i.file == "" {
		return []byte(i.text), nil
	}
	if i.text != "" {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--%s and --%[1]s-file cannot both be given", i.name)
	}
	from := stdin
	if i.file != "-" {
		f, err := os.Open(i.file)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "--%s-file: %w", i.name, err)
		}
		defer f.Close()
		from = f
	}
	// What is more than the limit is only counted.
	data, err := io.ReadAll(io.LimitReader(from, messages.PayloadBytesMax+1))
	size := int64(len(data))
	if err == nil && size > messages.PayloadBytesMax {
		var more int64
		more, err = io.Copy(io.Discard, from)
		size += more
	}
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--%s-file %s: %w", i.name, i.file, err)
	}
	if err := messages.CheckPayloadSize("--"+i.name+"-file "+strings.TrimSpace(i.file), size); err != nil {
		return nil, err
	}
	return data, nil
}
