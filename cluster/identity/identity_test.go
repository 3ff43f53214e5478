package identity_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/authority"
	"github.com/limpetrun/limpet/cluster/identity"
)

func TestParse(t *testing.T) {
	for uri, refused := range map[string]string{
		"limpet://server/s1":                          "",
		"limpet://worker/gpu-*":                       "",
		"limpet://worker/*":                           "",
		"limpet://worker/host/1:2._-":                 "",
		"limpet://worker/" + strings.Repeat("a", 128): "",
		"limpet://worker/" + strings.Repeat("a", 129): "at most 128",
		"":                        "does not begin",
		"spiffe://worker/a":       "does not begin",
		"LIMPET://worker/a":       "does not begin",
		"limpet://admin/a":        "neither",
		"limpet://worker":         "neither",
		"limpet://worker/":        "no id",
		"limpet:///a":             "neither",
		"limpet://u@worker/a":     "neither",
		"limpet://worker:1/a":     "neither",
		"limpet://worker/a b":     "not allowed",
		"limpet://worker/a%2f":    "not allowed",
		"limpet://worker/a?b":     "not allowed",
		"limpet://worker/a#b":     "not allowed",
		"limpet://worker/a\x00":   "not allowed",
		"limpet://worker/gpu-1~i": "not allowed",
	} {
		p, err := identity.Parse(uri)
		if (err == nil) != (refused == "") || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%q: %v, want %q", uri, err, refused)
		}
		if err == nil && p.URI() != uri {
			t.Errorf("%q became %q", uri, p.URI())
		}
	}
}

func TestAdmits(t *testing.T) {
	for _, c := range []struct {
		uri   string
		role  identity.Role
		id    string
		admit bool
	}{
		{"limpet://worker/gpu-1", identity.Worker, "gpu-1", true},
		{"limpet://worker/gpu-1", identity.Worker, "gpu-10", false},
		{"limpet://worker/gpu-1", identity.Worker, "GPU-1", false},
		{"limpet://worker/gpu-1", identity.Server, "gpu-1", false},
		{"limpet://server/s1", identity.Worker, "s1", false},
		{"limpet://worker/gpu-*", identity.Worker, "gpu-7", true},
		{"limpet://worker/gpu-*", identity.Worker, "gpu-", true},
		{"limpet://worker/gpu-*", identity.Worker, "cpu-7", false},
		{"limpet://worker/*-a-*", identity.Worker, "x-a-a-y", true},
		{"limpet://worker/*-a-*b", identity.Worker, "x-a-a-y", false},
		{"limpet://worker/*", identity.Worker, "", false},
		{"limpet://worker/*", identity.Worker, "any/of:them", true},
		{"limpet://worker/*", "", "x", false},
	} {
		p, err := identity.Parse(c.uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Admits(c.role, c.id); got != c.admit {
			t.Errorf("%s admits %s %q: %v", c.uri, c.role, c.id, got)
		}
	}
	if (identity.Pattern{}).Admits("", "x") || (identity.Pattern{ID: "*"}).Admits("", "x") {
		t.Error("nobody's certificate admits somebody")
	}
}

// FuzzIdentity holds patterns to what a regular expression says, which is read anew for
// each, and Overlaps to what it may not miss.
func FuzzIdentity(f *testing.F) {
	f.Add("limpet://worker/gpu-*", "limpet://worker/*-1", "gpu-1")
	f.Add("limpet://server/a**b*", "limpet://server/*", "ab")
	f.Add("limpet://worker/*a*a*a*b", "limpet://worker/a", "aaaa")
	f.Fuzz(func(t *testing.T, a, b, id string) {
		p, err := identity.Parse(a)
		if err != nil {
			return
		}
		want := id != "" && regexp.MustCompile("(?s)^"+strings.ReplaceAll(regexp.QuoteMeta(p.ID), `\*`, ".*")+"$").MatchString(id)
		if got := p.Admits(p.Role, id); got != want {
			t.Errorf("%s admits %q: %v", a, id, got)
		}
		q, err := identity.Parse(b)
		if err == nil && p.Admits(p.Role, id) && q.Admits(p.Role, id) && (!p.Overlaps(q) || !q.Overlaps(p)) {
			t.Errorf("%s and %s both admit %q", a, b, id)
		}
	})
}

// ca is an authority for tests.
func ca(t *testing.T) (authority.Pair, *authority.Authority) {
	t.Helper()
	pair, err := authority.New("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.Read(pair)
	if err != nil {
		t.Fatal(err)
	}
	return pair, a
}

func issue(t *testing.T, a *authority.Authority, uri string) []*x509.Certificate {
	t.Helper()
	p, err := identity.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Issue(p, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair.Certificate)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}

func trust(t *testing.T, revoked string, bundle ...authority.Pair) *identity.Trust {
	t.Helper()
	var all []byte
	for _, p := range bundle {
		all = append(all, p.Certificate...)
	}
	r, err := identity.ParseRevoked([]byte(revoked))
	if err != nil {
		t.Fatal(err)
	}
	to, err := identity.NewTrust(all, r)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestTrust(t *testing.T) {
	oldPair, old := ca(t)
	freshPair, fresh := ca(t)
	gpu := issue(t, old, "limpet://worker/gpu-*")
	now := time.Now()
	serial := fmt.Sprintf("%X", gpu[0].SerialNumber)
	for what, c := range map[string]struct {
		trust   *identity.Trust
		chain   []*x509.Certificate
		at      time.Time
		refused string
	}{
		"its own root":                   {trust(t, "", oldPair), gpu, now, ""},
		"the old root of a bundle":       {trust(t, "", freshPair, oldPair), gpu, now, ""},
		"the new root of a bundle":       {trust(t, "", oldPair, freshPair), issue(t, fresh, "limpet://server/s1"), now, ""},
		"another root":                   {trust(t, "", freshPair), gpu, now, "not to be trusted"},
		"no certificate":                 {trust(t, "", oldPair), nil, now, "no certificate"},
		"expired":                        {trust(t, "", oldPair), gpu, now.Add(11 * time.Minute), "expired"},
		"not yet":                        {trust(t, "", oldPair), gpu, now.Add(-time.Hour), "not yet valid"},
		"revoked by its number":          {trust(t, "# lost\n"+serial+" # gpu-1's machine\n", oldPair), gpu, now, "is revoked"},
		"revoked as a whole":             {trust(t, "limpet://worker/gpu-*", oldPair), gpu, now, "is revoked"},
		"revoked as one of all":          {trust(t, "limpet://worker/*", oldPair), issue(t, old, "limpet://worker/gpu-1"), now, "is revoked"},
		"another member of it revoked":   {trust(t, "limpet://worker/gpu-3", oldPair), gpu, now, ""},
		"a server of the name of one":    {trust(t, "limpet://worker/*", oldPair), issue(t, old, "limpet://server/gpu-1"), now, ""},
		"another one's number":           {trust(t, "01:ab", oldPair), gpu, now, ""},
		"the authority's own, no member": {trust(t, "", oldPair), rootOf(t, oldPair), now, "names no identity"},
	} {
		if _, err := c.trust.Check(c.chain, c.at); (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", what, err, c.refused)
		}
	}
	one := trust(t, "limpet://worker/gpu-3", oldPair)
	if one.Revokes(identity.Member{Role: identity.Worker, ID: "gpu-3"}) == nil || one.Revokes(identity.Member{Role: identity.Worker, ID: "gpu-4"}) != nil {
		t.Error("it is not the one that is revoked")
	}
	if err := one.CheckStanding(gpu, now); err == nil {
		t.Error("the connection of who may be revoked stands")
	}
	if err := trust(t, "", oldPair).CheckStanding(gpu, now.Add(time.Hour/2)); err != nil {
		t.Errorf("a connection ends because its certificate has expired since: %v", err)
	}
	if err := trust(t, "", oldPair).CheckOwn(gpu, identity.Member{Role: identity.Server, ID: "gpu-1"}, now); err == nil || !strings.Contains(err.Error(), "limpet ca issue limpet://server/gpu-1") {
		t.Errorf("a worker's certificate for a server: %v", err)
	}
}

func rootOf(t *testing.T, p authority.Pair) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Certificate)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c}
}

// The identity is one URI; the common name says nothing.
func TestOfCertificate(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	named := &x509.Certificate{DNSNames: []string{"gpu-1"}}
	named.Subject.CommonName = "limpet://worker/gpu-1"
	for what, c := range map[string]struct {
		of      *x509.Certificate
		refused string
	}{
		"one":        {&x509.Certificate{URIs: []*url.URL{uri("limpet://worker/gpu-1")}}, ""},
		"none":       {named, "names no identity"},
		"two":        {&x509.Certificate{URIs: []*url.URL{uri("limpet://worker/gpu-1"), uri("limpet://worker/gpu-2")}}, "2 SAN URIs"},
		"one more":   {&x509.Certificate{URIs: []*url.URL{uri("limpet://worker/gpu-1"), uri("https://example.com")}}, "2 SAN URIs"},
		"another":    {&x509.Certificate{URIs: []*url.URL{uri("spiffe://x/gpu-1")}}, "does not begin"},
		"with query": {&x509.Certificate{URIs: []*url.URL{uri("limpet://worker/gpu-1?a")}}, "not allowed"},
	} {
		if _, err := identity.OfCertificate(c.of); (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", what, err, c.refused)
		}
	}
}

func TestBundlesAndListsThatCannotBeRead(t *testing.T) {
	pair, a := ca(t)
	member, err := a.Issue(identity.Pattern{Role: identity.Worker, ID: "w"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for what, bundle := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("hello"), "a key": pair.Key, "a member's": member.Certificate,
		"half of it": pair.Certificate[:len(pair.Certificate)/2], "rubbish behind": append(append([]byte{}, pair.Certificate...), "rubbish"...),
	} {
		if _, err := identity.NewTrust(bundle, identity.Revoked{}); err == nil {
			t.Errorf("%s is a bundle", what)
		}
	}
	for _, list := range []string{"xyz", "-5", "0", "limpet://nobody/x", "limpet://worker/"} {
		if _, err := identity.ParseRevoked([]byte(list)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q is a list: %v", list, err)
		}
	}
}
