package main

import (
	"context"
	"testing"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func (f *fakeAPI) CreateToken(_ context.Context, req *connect.Request[api.CreateTokenRequest]) (*connect.Response[api.CreateTokenResponse], error) {
	if err := f.note(req.Header(), "create token "+req.Msg.String()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.CreateTokenResponse{Secret: "lpt_shown-once", Token: &api.Token{Id: "3f0c9a51d2e4b687", Name: req.Msg.GetName(), Role: req.Msg.GetRole(), CreatedAt: at(0), CreatedBy: "secret"}}), nil
}

func (f *fakeAPI) ListTokens(context.Context, *connect.Request[api.ListTokensRequest]) (*connect.Response[api.ListTokensResponse], error) {
	if f.empty {
		return connect.NewResponse(&api.ListTokensResponse{}), nil
	}
	return connect.NewResponse(&api.ListTokensResponse{Tokens: []*api.Token{
		{Id: "3f0c9a51d2e4b687", Name: "ci", Role: messages.Role_ROLE_RUN, WorkflowPrefix: "ci/", Pool: "gpu", CreatedAt: at(0), CreatedBy: "secret", ExpiresAt: at(3600 * 24)},
		{Id: "9d0e2b7c11a0f3d2", Name: "wall", Role: messages.Role_ROLE_READ, HidePayloads: true, CreatedAt: at(0), CreatedBy: "local", Expired: true},
		{Id: "aa01b7c11a0f3d22", Name: "ops", Role: messages.Role_ROLE_ADMIN, CreatedAt: at(0), CreatedBy: "local"},
	}}), nil
}

func (f *fakeAPI) RevokeToken(_ context.Context, req *connect.Request[api.RevokeTokenRequest]) (*connect.Response[api.RevokeTokenResponse], error) {
	if req.Msg.GetId() != "3f0c9a51d2e4b687" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownToken, "there is no token with the id %q", req.Msg.GetId()))
	}
	return connect.NewResponse(&api.RevokeTokenResponse{}), nil
}

func (f *fakeAPI) ListAudit(_ context.Context, req *connect.Request[api.ListAuditRequest]) (*connect.Response[api.ListAuditResponse], error) {
	if err := f.note(req.Header(), "list audit "+req.Msg.String()); err != nil {
		return nil, err
	}
	if f.empty {
		return connect.NewResponse(&api.ListAuditResponse{}), nil
	}
	if req.Msg.GetPageToken() == "" {
		return connect.NewResponse(&api.ListAuditResponse{NextPageToken: "7", Entries: []*api.AuditEntry{
			{At: at(0), Who: "3f0c9a51d2e4b687", Name: "ci", From: "10.0.0.7", Action: "StartRuns", Target: "ask", Count: 2, Targets: 40, Server: "server/a"},
		}}), nil
	}
	return connect.NewResponse(&api.ListAuditResponse{Entries: []*api.AuditEntry{
		{At: at(0), Who: "anonymous", From: "10.0.0.66", Action: "CancelRun", Count: 3, Targets: 3, Code: "UNAUTHENTICATED", Server: "server/a"},
	}}), nil
}

// A token is sent in place of the secret, from wherever it is given.
func TestTokenInPlaceOfTheSecret(t *testing.T) {
	f := &fakeAPI{secret: "lpt_a"}
	env := map[string]string{"LIMPET_ADDRESS": f.serve(t), "LIMPET_SECRET": "of the cluster", "LIMPET_TOKEN": "lpt_a"}
	if r := execute(t.Context(), env, "run", "get", "good"); r.code != 0 {
		t.Errorf("by the environment: %+v", r)
	}
	env["LIMPET_TOKEN"] = "lpt_b"
	if r := execute(t.Context(), env, "run", "get", "good"); r.code != exitRefused {
		t.Errorf("another one: %+v", r)
	}
	if r := execute(t.Context(), env, "run", "get", "good", "--token", "lpt_a"); r.code != 0 {
		t.Errorf("by the flag: %+v", r)
	}
}
