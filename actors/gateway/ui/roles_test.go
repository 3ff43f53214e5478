package ui

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
)

// roleDoors know a token for each role, which is its name, until it is revoked.
type roleDoors struct {
	*access.SecretDoors
	revoked string
}

func (d *roleDoors) Enter(ctx context.Context, presented, from string) (access.Caller, error) {
	if token, ok := strings.CutPrefix(presented, access.TokenPrefix); ok {
		return d.Again(ctx, token, from)
	}
	return d.SecretDoors.Enter(ctx, presented, from)
}

func (d *roleDoors) Again(ctx context.Context, who, from string) (access.Caller, error) {
	role, ok := messages.Role_value["ROLE_"+strings.ToUpper(who)]
	if !ok || who == d.revoked {
		return d.SecretDoors.Again(ctx, who, from)
	}
	return access.Caller{Who: who, From: from, View: access.View{Role: messages.Role(role)}}, nil
}

// asRole logs in with the token of a role.
func asRole(t *testing.T, h http.Handler, role string) *http.Cookie {
	t.Helper()
	resp, _ := ask(t, h, http.MethodPost, "/ui/login", "secret="+access.TokenPrefix+role)
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) != 1 || strings.Contains(resp.Cookies()[0].Value, access.TokenPrefix) {
		t.Fatalf("login as %s: %d %v", role, resp.StatusCode, resp.Cookies())
	}
	return resp.Cookies()[0]
}

// Every route is in the table, and each role may ask for what the table says; nobody may
// ask for anything but the login and what it needs.
func TestEveryRouteByEveryRole(t *testing.T) {
	c := pagesConfig(t, everywhere())
	c.Secret = "the secret of this cluster"
	c.Doors = &roleDoors{SecretDoors: access.NewSecretDoors(c.Secret)}
	stopped, stop := context.WithCancel(t.Context())
	stop() // streams end at once
	h := New(stopped, c)
	seen := 0
	for pattern, wanted := range access.Routes {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.HasPrefix(path, "/ui/") {
			continue
		}
		seen++
		path = strings.NewReplacer("{$}", "", "{id...}", "r1", "{name...}", "w1").Replace(path)
		resp, _ := ask(t, h, method, path, "")
		toLogin := strings.Contains(resp.Header.Get("Location"), "/ui/login?to=") || pattern == livePattern && resp.StatusCode == http.StatusUnauthorized
		if toLogin == wanted.Public {
			t.Errorf("%s for nobody: %d to %q", pattern, resp.StatusCode, resp.Header.Get("Location"))
		}
		for role, name := range messages.Role_name {
			if role == 0 || wanted.Public {
				continue
			}
			resp, body := ask(t, h, method, path, "", asRole(t, h, strings.ToLower(strings.TrimPrefix(name, "ROLE_"))))
			if refused := resp.StatusCode == http.StatusForbidden; refused != (messages.Role(role) < wanted.Least) {
				t.Errorf("%s by %s: %d %.200s", pattern, name, resp.StatusCode, body)
			}
		}
	}
	if p := newUI(stopped, c); seen != len(p.patterns) {
		t.Errorf("%d routes in the table, %d are served: %v", seen, len(p.patterns), p.patterns)
	}
}

// A page has the commands that its caller may do, and no others are done, whatever form is
// sent.
func TestCommandsByRole(t *testing.T) {
	c := pagesConfig(t, everywhere())
	c.Secret = "the secret of this cluster"
	c.Doors = &roleDoors{SecretDoors: access.NewSecretDoors(c.Secret)}
	h := New(t.Context(), c)
	for role, want := range map[string]struct{ cancel, drain bool }{"read": {}, "run": {cancel: true}, "operate": {true, true}, "admin": {true, true}} {
		cookie := asRole(t, h, role)
		_, run := ask(t, h, http.MethodGet, "/ui/runs/r1", "", cookie)
		_, worker := ask(t, h, http.MethodGet, "/ui/workers/"+url.PathEscape(hostile), "", cookie)
		if strings.Contains(run, "/confirm?do=") != want.cancel || strings.Contains(worker, "do=drain") != want.drain {
			t.Errorf("%s is shown other commands", role)
		}
		for do, may := range map[string]bool{"cancel&run=r1": want.cancel, "drain&worker=w1": want.drain} {
			if resp, _ := ask(t, h, http.MethodGet, "/ui/confirm?do="+do, "", cookie); (resp.StatusCode == http.StatusOK) != may {
				t.Errorf("%s asks to %s: %d", role, do, resp.StatusCode)
			}
		}
	}
}

// Revoking a token logs out all browsers that have logged in with it.
func TestRevokingLogsOut(t *testing.T) {
	c := pagesConfig(t, everywhere())
	c.Secret = "the secret of this cluster"
	doors := &roleDoors{SecretDoors: access.NewSecretDoors(c.Secret)}
	c.Doors = doors
	h := New(t.Context(), c)
	cookie := asRole(t, h, "run")
	if resp, _ := ask(t, h, http.MethodGet, "/ui/", "", cookie); resp.StatusCode != http.StatusOK {
		t.Errorf("before: %d", resp.StatusCode)
	}
	doors.revoked = "run"
	if resp, _ := ask(t, h, http.MethodGet, "/ui/", "", cookie); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("after: %d", resp.StatusCode)
	}
	// A pass is for who has got it.
	other := *asRole(t, h, "read")
	other.Value = strings.Replace(other.Value, ".read.", ".admin.", 1)
	if resp, _ := ask(t, h, http.MethodGet, "/ui/", "", &other); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a pass with another name in it: %d", resp.StatusCode)
	}
}
