package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// What a shell offers when the user presses tab: names that the server knows. A
// shell waits for it and shows all that it prints, so it is short and silent.
const (
	// completeWithin is how long a shell is kept waiting.
	completeWithin = time.Second
	// completionsMax is how many names are offered at most, of runs the newest.
	completionsMax = 100
)

// offer returns names that may be meant, each with a text that explains it.
type offer func(ctx context.Context, server apiconnect.LimpetServiceClient, args []string) ([]cobra.Completion, error)

// completesArg completes the only argument of a command.
func (c *cli) completesArg(names offer) cobra.CompletionFunc {
	complete := c.completes(names)
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return cobra.NoFileCompletions(cmd, args, begun)
		}
		return complete(cmd, args, begun)
	}
}

// completesFlag completes a flag of a command.
func (c *cli) completesFlag(cmd *cobra.Command, flag string, names offer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c.completes(names)); err != nil {
		panic(err) // the command has no such flag
	}
}

// completes asks the server that the settings name. Where there is none, it
// offers nothing and says nothing.
func (c *cli) completes(names offer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const in = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if c.resolve(cmd) != nil {
			return nil, in
		}
		client, err := sdk.NewClient(sdk.ClientConfig{Address: c.address, Secret: c.secret, Token: c.token, RetryFor: sdk.Never, ConnectFor: sdk.Never})
		if err != nil {
			return nil, in
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		all, err := names(ctx, client.Service(), args)
		if err != nil {
			return nil, in
		}
		var offered []cobra.Completion
		for _, name := range all {
			if strings.HasPrefix(name, begun) && len(offered) < completionsMax {
				offered = append(offered, name)
			}
		}
		return offered, in
	}
}

// described is a name with a text, on one line that cannot steer the terminal.
func described(name string, words ...string) cobra.Completion {
	return cobra.CompletionWithDesc(printable(name), printable(strings.Join(words, " ")))
}

// runIDs are those of runs that have one of the statuses, any if none is named.
func runIDs(statuses ...messages.RunStatus) offer {
	return func(ctx context.Context, server apiconnect.LimpetServiceClient, _ []string) ([]cobra.Completion, error) {
		page, err := server.ListRuns(ctx, connect.NewRequest(&api.ListRunsRequest{Statuses: statuses, PageSize: completionsMax}))
		if err != nil {
			return nil, err
		}
		var ids []cobra.Completion
		for _, r := range page.Msg.GetRuns() {
			ids = append(ids, described(r.GetRunId(), r.GetWorkflow(), statusName(r.GetStatus())))
		}
		return ids, nil
	}
}

// workerIDs are those of workers in one of the states, any if none is named.
func workerIDs(states ...string) offer {
	return func(ctx context.Context, server apiconnect.LimpetServiceClient, _ []string) ([]cobra.Completion, error) {
		list, err := server.ListWorkers(ctx, connect.NewRequest(&api.ListWorkersRequest{}))
		if err != nil {
			return nil, err
		}
		var ids []cobra.Completion
		for _, w := range list.Msg.GetWorkers() {
			if len(states) == 0 || slices.Contains(states, w.GetState()) {
				ids = append(ids, described(w.GetWorkerId(), w.GetState()))
			}
		}
		return ids, nil
	}
}

// workflowNames are those of workflows that are chosen.
func workflowNames(chosen func(*api.Workflow) bool) offer {
	return func(ctx context.Context, server apiconnect.LimpetServiceClient, _ []string) ([]cobra.Completion, error) {
		list, err := server.ListWorkflows(ctx, connect.NewRequest(&api.ListWorkflowsRequest{}))
		if err != nil {
			return nil, err
		}
		var names []cobra.Completion
		for _, w := range list.Msg.GetWorkflows() {
			if chosen(w) {
				names = append(names, described(w.GetDefinition().GetName(), stickyName(w.GetDefinition().GetSticky())))
			}
		}
		return names, nil
	}
}

func anyWorkflow(*api.Workflow) bool    { return true }
func startsRuns(w *api.Workflow) bool   { return w.GetRetiredAt() == nil }
func startsNoRuns(w *api.Workflow) bool { return w.GetRetiredAt() != nil }

// workflowVersions are the workflows, and then the versions of the one that was
// given.
func workflowVersions(ctx context.Context, server apiconnect.LimpetServiceClient, args []string) ([]cobra.Completion, error) {
	switch len(args) {
	case 0:
		return workflowNames(anyWorkflow)(ctx, server, args)
	case 1:
		list, err := server.ListWorkflowVersions(ctx, connect.NewRequest(&api.ListWorkflowVersionsRequest{Workflow: args[0]}))
		if err != nil {
			return nil, err
		}
		var hashes []cobra.Completion
		for _, v := range list.Msg.GetVersions() {
			said := v.GetRegisteredAt().AsTime().Format(time.DateTime)
			if v.GetCurrent() {
				said += " current"
			}
			hashes = append(hashes, described(v.GetHash(), said))
		}
		return hashes, nil
	}
	return nil, nil
}

// stepNames are those of the run that the command is about.
func stepNames(ctx context.Context, server apiconnect.LimpetServiceClient, args []string) ([]cobra.Completion, error) {
	if len(args) != 1 {
		return nil, nil
	}
	run, err := server.GetRun(ctx, connect.NewRequest(&api.GetRunRequest{RunId: args[0]}))
	if err != nil {
		return nil, err
	}
	var names []cobra.Completion
	for _, s := range run.Msg.GetSteps() {
		names = append(names, described(s.GetName(), s.GetPhase()))
	}
	return names, nil
}

// endedStatuses are those of a run that can be replayed.
var endedStatuses = []messages.RunStatus{messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_CANCELED}

func statusNames(context.Context, apiconnect.LimpetServiceClient, []string) ([]cobra.Completion, error) {
	var names []cobra.Completion
	for n := range int32(len(messages.RunStatus_name)) {
		if n > 0 {
			names = append(names, statusName(messages.RunStatus(n)))
		}
	}
	return names, nil
}
