package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages/api"
)

func (c *cli) memberCommand() *cobra.Command {
	return group("member", "Look at the members of the cluster", c.memberListCommand())
}

func (c *cli) memberListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the servers and workers that the server sees",
		Long: `List the servers and workers that the server sees. Others join the cluster by the
GOSSIP address of any of them.`,
		Example: `  limpet member list
  limpet member list --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := call(ctx, conn, conn.ListMembers, &api.ListMembersRequest{})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			}
			t := &table{header: []string{"MEMBER", "ROLE", "STATE", "ACTORS", "GOSSIP", "SHARDS", "NOTE"}}
			for _, m := range list.GetMembers() {
				note := ""
				if m.GetThisServer() {
					note = "answers this"
				}
				t.add(plain(m.GetName()), plain(m.GetRole()), cell{m.GetState(), phaseColor(m.GetState())},
					plain(m.GetAddress()), plain(m.GetGossipAddress()), nonZero(m.GetShards()), plain(note))
			}
			c.printTable(t)
			return nil
		}),
	}
}
