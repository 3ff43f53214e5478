// Package identity says who a member of the cluster is, and what a certificate lets
// its holder be.
//
// Data flow: the one SAN URI of a certificate → Pattern; what a process says of
// itself when it connects → Member; Pattern.Admits compares the two.
//
// # What holds
//
//   - D1. An identity is one URI: limpet://server/ID or limpet://worker/ID. In that of
//     a certificate each * stands for any characters, none included.
//   - D2. A certificate with no URI, or with more than one, is nobody's. Its common
//     name and its other names are not read.
//   - D3. The role is compared as a whole; no pattern is of both roles.
//
// Imports nothing of ours.
package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Role of a member.
type Role string

// A server hosts runs and placement; a worker executes steps.
const (
	Server Role = "server"
	Worker Role = "worker"
)

const (
	// scheme of the URIs.
	scheme = "limpet://"
	// idBytesMax is the longest id of a member.
	idBytesMax = 128
)

// Member is one process, as it is known to others.
type Member struct {
	Role Role
	// ID of the worker or server, the same for all of its processes.
	ID string
	// Incarnation of the process.
	Incarnation string
}

// URI of the member, whatever its process.
func (m Member) URI() string { return scheme + string(m.Role) + "/" + m.ID }

// Pattern is which members the holder of a certificate may be. The zero value admits
// nobody.
type Pattern struct {
	Role Role
	// ID with any number of *.
	ID string
}

// URI that Parse reads.
func (p Pattern) URI() string { return scheme + string(p.Role) + "/" + p.ID }

// Parse reads a URI: limpet://server/ID or limpet://worker/ID, with * in the ID for any
// characters.
func Parse(uri string) (Pattern, error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return Pattern{}, fmt.Errorf("identity %q does not begin with %s", uri, scheme)
	}
	role, id, ok := strings.Cut(rest, "/")
	switch {
	case !ok || Role(role) != Server && Role(role) != Worker:
		return Pattern{}, fmt.Errorf("identity %q is neither %sserver/ID nor %sworker/ID", uri, scheme, scheme)
	case id == "":
		return Pattern{}, fmt.Errorf("identity %q has no id: * stands for all", uri)
	case len(id) > idBytesMax:
		return Pattern{}, fmt.Errorf("identity %q has an id of %d bytes: at most %d", uri, len(id), idBytesMax)
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("._:/-*", rune(c)) {
			return Pattern{}, fmt.Errorf("identity %q: %q is not allowed in an id, only letters, digits, ._:/- and *", uri, c)
		}
	}
	return Pattern{Role(role), id}, nil
}

// OfCertificate returns the identity of a certificate. Whether it is to be trusted is
// another question.
func OfCertificate(c *x509.Certificate) (Pattern, error) {
	switch len(c.URIs) {
	case 0:
		return Pattern{}, errors.New("the certificate names no identity: it needs one SAN URI, " + scheme + "server/ID or " + scheme + "worker/ID")
	case 1:
		return Parse(c.URIs[0].String())
	}
	return Pattern{}, fmt.Errorf("the certificate has %d SAN URIs: one names the identity, and it has to be the only one", len(c.URIs))
}

// Admits says whether the holder may be the member.
func (p Pattern) Admits(role Role, id string) bool {
	return p.Role != "" && p.Role == role && id != "" && matches(p.ID, id)
}

// Overlaps says whether there may be a member that both admit. It errs on that side.
func (p Pattern) Overlaps(q Pattern) bool {
	if p.Role != q.Role {
		return false
	}
	a, _, many := strings.Cut(p.ID, "*")
	b, _, alsoMany := strings.Cut(q.ID, "*")
	switch {
	case !many:
		return matches(q.ID, a)
	case !alsoMany:
		return matches(p.ID, b)
	}
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// matches takes time that grows with the product of the two lengths at most: a * that
// has taken too little takes more, and the last one alone is taken back.
func matches(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
