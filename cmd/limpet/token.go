package main

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

func (c *cli) tokenCommand() *cobra.Command {
	return group("token", "Make, list and revoke tokens for the API", c.tokenCreateCommand(), c.tokenListCommand(), c.tokenRevokeCommand())
}

// roleWords are the roles as people write them.
var roleWords = []string{"read", "run", "operate", "admin"}

func roleNamed(word string) (messages.Role, error) {
	role, ok := messages.Role_value["ROLE_"+strings.ToUpper(word)]
	if !ok || role == 0 || word != strings.ToLower(word) {
		return 0, messages.Errorf(messages.CodeInvalidArgument, "--role %q is none of %s", word, strings.Join(roleWords, ", "))
	}
	return messages.Role(role), nil
}

func (c *cli) tokenCreateCommand() *cobra.Command {
	request := &api.CreateTokenRequest{}
	var role string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token, and print it once",
		Long: `Make a token for the API, and print it: it is shown here and never again. The journal
keeps a hash of it. Give it to a program by LIMPET_TOKEN, or to a person for the dashboard.

A role may do what those before it may:
  read      see runs, workflows, workers and members
  run       start, signal, ask, cancel and replay runs, and push events
  operate   drain workers, choose, retire and restore workflows
  admin     make and revoke tokens

--workflows and --pool limit it: what lies beyond is answered as what is not there. Events
concern all workflows, and are refused to such a token.`,
		Example: `  limpet token create ci --role run --workflows ci/ --expires 720h
  limpet token create wall --role read --hide-payloads
  LIMPET_TOKEN=$(limpet token create nightly --role run --json | jq -r .secret) nightly-job`,
		Args: oneArg("the name of the token: who or what has it"),
		RunE: c.does(func(ctx context.Context, args []string) (err error) {
			request.Name = args[0]
			if request.Role, err = roleNamed(role); err != nil {
				return err
			}
			if expires != 0 {
				request.ExpiresIn = durationpb.New(expires)
			}
			conn, err := c.connect()
			if err != nil {
				return err
			}
			made, err := call(ctx, conn, conn.CreateToken, request)
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(made)
			}
			c.out.printf("%s\n", made.GetSecret())
			c.err.printf("token %s of %s, role %s: it is shown this once\n", made.GetToken().GetId(), made.GetToken().GetName(), roleWord(made.GetToken().GetRole()))
			return nil
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&role, "role", "read", "what it may do: "+strings.Join(roleWords, ", "))
	flags.StringVar(&request.WorkflowPrefix, "workflows", "", "only workflows whose names begin so")
	flags.StringVar(&request.Pool, "pool", "", "only workflows and workers of this pool")
	flags.BoolVar(&request.HidePayloads, "hide-payloads", false, "show it no inputs, outputs, signals, events, logs, streams and answers")
	flags.DurationVar(&expires, "expires", 0, "how long it is good, such as 720h; 0 is for ever")
	return cmd
}

func roleWord(r messages.Role) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

func (c *cli) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List tokens, without themselves",
		Example: `  limpet token list
  limpet token list --json`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			list, err := call(ctx, conn, conn.ListTokens, &api.ListTokensRequest{})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(list)
			case len(list.GetTokens()) == 0:
				c.err.printf("no tokens: `limpet token create` makes one\n")
				return nil
			}
			t := &table{header: []string{"ID", "NAME", "ROLE", "WORKFLOWS", "POOL", "PAYLOADS", "CREATED", "BY", "EXPIRES"}}
			for _, token := range list.GetTokens() {
				t.add(plain(token.GetId()), plain(token.GetName()), plain(roleWord(token.GetRole())), plain(orDefault(token.GetWorkflowPrefix(), "all")), plain(orDefault(token.GetPool(), "all")),
					plain(payloadsText(token)), plain(c.ago(token.GetCreatedAt())), plain(token.GetCreatedBy()), plain(c.expiryText(token)))
			}
			c.printTable(t)
			return nil
		}),
	}
}

func payloadsText(t *api.Token) string {
	if t.GetHidePayloads() {
		return "hidden"
	}
	return "shown"
}

// expiryText says when a token is good no more.
func (c *cli) expiryText(t *api.Token) string {
	switch {
	case t.GetExpired():
		return "expired"
	case t.GetExpiresAt() == nil:
		return "never"
	}
	return "in " + t.GetExpiresAt().AsTime().Sub(c.now()).Round(time.Second).String()
}

func (c *cli) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token on all servers, and end what it has open",
		Long: `Revoke a token. The server that is asked refuses it at once, the others within seconds; what
it has open ends, and browsers that have logged in with it are logged out.`,
		Example:           `  limpet token revoke 3f0c9a51d2e4b687`,
		Args:              oneArg("the id of a token"),
		ValidArgsFunction: c.completesArg(tokenIDs),
		RunE: c.does(func(ctx context.Context, args []string) error {
			conn, err := c.connect()
			if err != nil {
				return err
			}
			revoked, err := call(ctx, conn, conn.RevokeToken, &api.RevokeTokenRequest{Id: args[0]})
			switch {
			case err != nil:
				return err
			case c.json:
				return c.printJSON(revoked)
			}
			c.out.printf("token %s is revoked\n", args[0])
			return nil
		}),
	}
}

// tokenIDs offers tokens.
func tokenIDs(ctx context.Context, server apiconnect.LimpetServiceClient, _ []string) ([]cobra.Completion, error) {
	list, err := server.ListTokens(ctx, connect.NewRequest(&api.ListTokensRequest{}))
	if err != nil {
		return nil, err
	}
	var offered []cobra.Completion
	for _, t := range list.Msg.GetTokens() {
		offered = append(offered, cobra.CompletionWithDesc(t.GetId(), t.GetName()+", "+roleWord(t.GetRole())))
	}
	return offered, nil
}
