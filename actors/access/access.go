// Package access says who may do what with the API of a server.
//
// Data flow: token or secret → gateway makes a Caller → Procedures and Routes say what
// is wanted of it → Refused, Sees.
//
// Rules:
//
//	C1: what is in no table is refused.
//	C2: a caller that is limited to some workflows is refused what cannot be limited.
//	C3: a token is 256 random bits. Its SHA-256 is kept: nobody can guess the bits, so a
//	    hash that is slow would protect nothing and cost each call.
//	C4: the role is asked before anything is looked up, so a refusal does not tell what
//	    there is.
//
// Imports only messages.
package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Who calls without a token.
const (
	// Secret is who has the cluster's secret.
	Secret = "secret"
	// Local is anybody, where there is no secret and only this machine can connect.
	Local = "local"
	// Anonymous is who has shown nothing that is good.
	Anonymous = "anonymous"
	// Pages makes pages for all who may see the same: each was asked before.
	Pages = "pages"
)

// TokenPrefix begins each token, so that people and scanners know one.
const TokenPrefix = "lpt_"

// NewToken makes a token of random bits.
func NewToken(random [32]byte) string {
	return TokenPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random[:]))
}

// Hash is what is kept of a token.
func Hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// TokenID names a token by its hash: 64 bits of it, which say nothing of the token.
func TokenID(hash [sha256.Size]byte) string { return hex.EncodeToString(hash[:8]) }

// Caller is who calls. The zero one may do nothing.
type Caller struct {
	// Who is the id of a token, or Secret, Local or Anonymous.
	Who string
	// Name of the token, for people.
	Name string
	// From is the IP address of the call.
	From string
	View
}

// View is what callers with the same rights have in common.
type View struct {
	Role messages.Role
	// Workflows begin so, and Pool is theirs; empty for all.
	Workflows, Pool string
	HidePayloads    bool
}

// Everything is the view of who has the cluster's secret.
var Everything = View{Role: messages.Role_ROLE_ADMIN}

// OfToken is who has a token.
func OfToken(t *messages.TokenRecord, from string) Caller {
	return Caller{Who: t.GetId(), Name: t.GetName(), From: from, View: View{
		Role: t.GetRole(), Workflows: t.GetWorkflowPrefix(), Pool: t.GetPool(), HidePayloads: t.GetHidePayloads(),
	}}
}

// Expired says whether a token is good no more.
func Expired(t *messages.TokenRecord, now time.Time) bool {
	return t.GetExpiresUs() != 0 && now.UnixMicro() >= t.GetExpiresUs()
}

// Limited says that the view is of some workflows only.
func (v View) Limited() bool { return v.Workflows != "" || v.Pool != "" }

// Sees says whether a workflow is within the limits.
func (v View) Sees(workflow, pool string) bool {
	return strings.HasPrefix(workflow, v.Workflows) && (v.Pool == "" || v.Pool == messages.EffectivePool(pool))
}

// May says whether the view has all that is wanted.
func (v View) May(p Permission) bool { return v.Refused("", p) == nil }

// MayCall says whether a procedure may be called.
func (v View) MayCall(procedure string) bool {
	p, ok := Procedures[procedure]
	return ok && v.May(p)
}

// Refused returns why something wants more than the view has, PERMISSION_DENIED; nil if
// it does not.
func (v View) Refused(what string, p Permission) *messages.Error {
	switch {
	case p.Public:
		return nil
	case p.Least == messages.Role_ROLE_UNSPECIFIED:
		return messages.Errorf(messages.CodePermissionDenied, "%s is for nobody", what)
	case v.Role < p.Least:
		return messages.Errorf(messages.CodePermissionDenied, "%s is for role %q, and this caller has %q", what, RoleName(p.Least), RoleName(v.Role))
	case p.Whole && v.Limited():
		return messages.Errorf(messages.CodePermissionDenied, "%s concerns all workflows, and this token is limited to some", what)
	case p.Payloads && v.HidePayloads:
		return messages.Errorf(messages.CodePermissionDenied, "%s shows payloads, which are hidden from this token", what)
	}
	return nil
}

// RoleName is the word for a role: read, run, operate, admin, or none.
func RoleName(r messages.Role) string {
	if r == messages.Role_ROLE_UNSPECIFIED {
		return "none"
	}
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

type callerKey struct{}

// With returns a context that says who calls.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Without returns a context that says nothing of who calls.
func Without(ctx context.Context) context.Context {
	return context.WithValue(ctx, callerKey{}, nil)
}

// From returns who calls; false if nobody has said so.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Doors find out who calls.
type Doors interface {
	// Enter returns who has a token or the secret. UNAUTHENTICATED, or
	// JOURNAL_UNAVAILABLE if tokens cannot be read.
	Enter(ctx context.Context, presented, from string) (Caller, error)
	// Again returns who has entered before, by Caller.Who: the same errors for one that
	// may not any more.
	Again(ctx context.Context, who, from string) (Caller, error)
	// Attend returns a context that also ends, within seconds, when the caller may not
	// call any more. done must be called at the end.
	Attend(ctx context.Context, c Caller) (_ context.Context, done func())
}

// SecretDoors let in who has a cluster's secret, and everybody if there is none. They
// know no tokens.
type SecretDoors struct {
	// want is the hash of the secret. Hashes have one length, so that comparing them tells
	// nothing of the secret.
	want []byte
}

var _ Doors = (*SecretDoors)(nil)

// NewSecretDoors makes them; an empty secret is none.
func NewSecretDoors(secret string) *SecretDoors {
	if secret == "" {
		return &SecretDoors{}
	}
	sum := sha256.Sum256([]byte(secret))
	return &SecretDoors{sum[:]}
}

// Enter implements Doors.
func (d *SecretDoors) Enter(_ context.Context, presented, from string) (Caller, error) {
	sum := sha256.Sum256([]byte(presented))
	switch {
	case strings.HasPrefix(presented, TokenPrefix):
		return Caller{}, messages.Errorf(messages.CodeUnauthenticated, "no token is known here, only the cluster's secret")
	case d.want == nil:
		return d.Again(context.Background(), Local, from)
	case presented == "":
		return Caller{}, messages.Errorf(messages.CodeUnauthenticated, "the call carries no token and no secret, and this cluster has one")
	case subtle.ConstantTimeCompare(sum[:], d.want) != 1:
		return Caller{}, messages.Errorf(messages.CodeUnauthenticated, "the secret of the call is not the cluster's")
	}
	return d.Again(context.Background(), Secret, from)
}

// Again implements Doors.
func (d *SecretDoors) Again(_ context.Context, who, from string) (Caller, error) {
	if who == Secret && d.want != nil || who == Local && d.want == nil {
		return Caller{Who: who, From: from, View: Everything}, nil
	}
	return Caller{}, messages.Errorf(messages.CodeUnauthenticated, "the call carries no token and no secret, and this cluster has one")
}

// Attend implements Doors.
func (d *SecretDoors) Attend(ctx context.Context, _ Caller) (context.Context, func()) {
	return ctx, func() {}
}
