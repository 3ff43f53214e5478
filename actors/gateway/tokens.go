package gateway

import (
	"context"
	"crypto/rand"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// A token may be good from tokenForMin to tokenForMax.
const (
	tokenForMin = time.Second
	tokenForMax = 10 * 365 * 24 * time.Hour
)

// CreateToken makes a token. The answer alone has it.
func (g *gateway) CreateToken(ctx context.Context, req *connect.Request[api.CreateTokenRequest]) (*connect.Response[api.CreateTokenResponse], error) {
	r := req.Msg
	if err := g.checkToken(ctx, r); err != nil {
		return nil, err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // it does not fail
	secret := access.NewToken(random)
	hash := access.Hash(secret)
	caller, _ := access.From(ctx)
	now := g.doors.now()
	t := &messages.TokenRecord{
		Id: access.TokenID(hash), Name: r.GetName(), Hash: hash[:], Role: r.GetRole(), WorkflowPrefix: r.GetWorkflowPrefix(), Pool: r.GetPool(),
		HidePayloads: r.GetHidePayloads(), CreatedUs: now.UnixMicro(), CreatedBy: caller.Who,
	}
	if d := r.GetExpiresIn(); d != nil {
		t.ExpiresUs = now.Add(d.AsDuration()).UnixMicro()
	}
	data, err := proto.Marshal(t)
	if err != nil {
		return nil, err
	}
	if err := g.config.Access.PutToken(ctx, journal.Token{ID: t.GetId(), Data: data}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.CreateTokenResponse{Secret: secret, Token: g.shownToken(t)}), nil
}

// checkToken refuses a token that cannot be, and one too many.
func (g *gateway) checkToken(ctx context.Context, r *api.CreateTokenRequest) error {
	if err := messages.CheckFields(r); err != nil {
		return err
	}
	if d := r.GetExpiresIn(); d != nil && (d.CheckValid() != nil || d.AsDuration() < tokenForMin || d.AsDuration() > tokenForMax) {
		return messages.Errorf(messages.CodeInvalidArgument, "expires_in is %v, not %v to %v", d.AsDuration(), tokenForMin, tokenForMax)
	}
	if r.GetRole() == messages.Role_ROLE_ADMIN && (r.GetWorkflowPrefix() != "" || r.GetPool() != "" || r.GetHidePayloads()) {
		return messages.Errorf(messages.CodeInvalidArgument, "a token of role admin has no limits, for it can make others without: give it another role, or leave out workflow_prefix, pool and hide_payloads")
	}
	tokens, err := g.tokens(ctx)
	if err == nil && len(tokens) >= messages.TokensMax {
		err = messages.Errorf(messages.CodeLimitExceeded, "there are %d tokens, which is TokensMax: revoke some; `limpet token list` says which have expired", len(tokens))
	}
	return err
}

// tokens reads all.
func (g *gateway) tokens(ctx context.Context) (all []*messages.TokenRecord, err error) {
	if g.config.Access == nil {
		return nil, messages.Errorf(messages.CodeUnavailable, "this server keeps no tokens")
	}
	stored, err := g.config.Access.Tokens(ctx)
	for _, s := range stored {
		t := &messages.TokenRecord{}
		if proto.Unmarshal(s.Data, t) != nil {
			t = &messages.TokenRecord{}
		}
		t.Id = s.ID // one that cannot be read can be revoked
		all = append(all, t)
	}
	return all, err
}

func (g *gateway) shownToken(t *messages.TokenRecord) *api.Token {
	shown := &api.Token{
		Id: t.GetId(), Name: t.GetName(), Role: t.GetRole(), WorkflowPrefix: t.GetWorkflowPrefix(), Pool: t.GetPool(), HidePayloads: t.GetHidePayloads(),
		CreatedAt: api.Moment(time.UnixMicro(t.GetCreatedUs())), CreatedBy: t.GetCreatedBy(), Expired: access.Expired(t, g.doors.now()),
	}
	if t.GetExpiresUs() != 0 {
		shown.ExpiresAt = api.Moment(time.UnixMicro(t.GetExpiresUs()))
	}
	return shown
}

// ListTokens returns what is known of all tokens.
func (g *gateway) ListTokens(ctx context.Context, _ *connect.Request[api.ListTokensRequest]) (*connect.Response[api.ListTokensResponse], error) {
	tokens, err := g.tokens(ctx)
	if err != nil {
		return nil, err
	}
	answer := &api.ListTokensResponse{}
	for _, t := range tokens {
		answer.Tokens = append(answer.Tokens, g.shownToken(t))
	}
	return connect.NewResponse(answer), nil
}

// RevokeToken deletes a token and ends what it has open here; other servers do so when
// they read the tokens the next time.
func (g *gateway) RevokeToken(ctx context.Context, req *connect.Request[api.RevokeTokenRequest]) (*connect.Response[api.RevokeTokenResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	if g.config.Access == nil {
		return nil, messages.Errorf(messages.CodeUnavailable, "this server keeps no tokens")
	}
	there, err := g.config.Access.DeleteToken(ctx, req.Msg.GetId())
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, messages.Errorf(messages.CodeUnknownToken, "there is no token with the id %q", req.Msg.GetId())
	}
	// The token of the caller may be the one that went: then its context has ended.
	if err := g.doors.readAgain(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.RevokeTokenResponse{}), nil
}
