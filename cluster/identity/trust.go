package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Trust is whom a member believes: the roots of the cluster's authority, less what is
// revoked. It is not changed once it is made.
type Trust struct {
	roots   *x509.CertPool
	revoked Revoked
}

// NewTrust reads a trust bundle, PEM with one or more certificates of authorities: the
// old and the new one together while they are changed. Revoked may be empty.
func NewTrust(bundle []byte, revoked Revoked) (*Trust, error) {
	t := &Trust{roots: x509.NewCertPool(), revoked: revoked}
	for i := 1; ; i++ {
		block, rest := pem.Decode(bundle)
		switch {
		case block == nil && i == 1:
			return nil, errors.New("there is no certificate in it: an authority's is PEM, as `limpet ca init` writes it")
		case block == nil && len(bytes.TrimSpace(rest)) > 0:
			return nil, fmt.Errorf("what follows certificate %d is not PEM", i-1)
		case block == nil:
			return t, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("number %d is a %q, not a certificate: a trust bundle has nothing else in it", i, block.Type)
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		if !root.IsCA || !root.BasicConstraintsValid {
			return nil, fmt.Errorf("certificate %d, of %q, is not that of an authority", i, root.Subject.CommonName)
		}
		t.roots.AddCert(root)
		bundle = rest
	}
}

// Check returns what the holder of a certificate may be. The chain begins with the
// certificate, and holds those between it and a root.
func (t *Trust) Check(chain []*x509.Certificate, now time.Time) (Pattern, error) {
	if len(chain) == 0 {
		return Pattern{}, errors.New("there is no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	leaf := chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return Pattern{}, fmt.Errorf("certificate %s is not to be trusted: %w", serial(leaf.SerialNumber), err)
	}
	p, err := OfCertificate(leaf)
	if err != nil {
		return Pattern{}, err
	}
	return p, t.revoked.refuses(leaf, p)
}

// CheckStanding is Check for a connection that was made while the certificate was good:
// that it has expired since does not end the connection. One whose identity may be that
// of a revoked member does not stand: the member says who it is when it connects again.
func (t *Trust) CheckStanding(chain []*x509.Certificate, now time.Time) error {
	for _, c := range chain {
		if now.After(c.NotAfter) {
			now = c.NotAfter
		}
	}
	p, err := t.Check(chain, now)
	for _, of := range t.revoked.members {
		if err == nil && of.Overlaps(p) {
			err = fmt.Errorf("%s is revoked", of.URI())
		}
	}
	return err
}

// CheckOwn says why a member may not use a certificate as its own.
func (t *Trust) CheckOwn(chain []*x509.Certificate, of Member, now time.Time) error {
	p, err := t.Check(chain, now)
	switch {
	case err != nil:
		return err
	case !p.Admits(of.Role, of.ID):
		return fmt.Errorf("the certificate is of %s, and this is %s: `limpet ca issue %s` makes one for it", p.URI(), of.URI(), of.URI())
	}
	return t.Revokes(of)
}

// Revokes says that a member is revoked by its id, whatever its certificate.
func (t *Trust) Revokes(m Member) error {
	for _, p := range t.revoked.members {
		if p.Admits(m.Role, m.ID) {
			return fmt.Errorf("%s is revoked", m.URI())
		}
	}
	return nil
}

// Revoked is what is not to be trusted any more.
type Revoked struct {
	serials map[string]bool
	members []Pattern
}

// ParseRevoked reads a list, one a line: the serial number of a certificate, in hex, or a
// URI of members. What follows # is a comment.
func ParseRevoked(list []byte) (Revoked, error) {
	r := Revoked{serials: map[string]bool{}}
	for i, line := range strings.Split(string(list), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, scheme):
			p, err := Parse(line)
			if err != nil {
				return Revoked{}, fmt.Errorf("line %d: %w", i+1, err)
			}
			r.members = append(r.members, p)
		default:
			n, ok := new(big.Int).SetString(strings.ReplaceAll(line, ":", ""), 16)
			if !ok || n.Sign() <= 0 {
				return Revoked{}, fmt.Errorf("line %d: %q is neither a serial number in hex nor an identity that begins with %s", i+1, line, scheme)
			}
			r.serials[serial(n)] = true
		}
	}
	return r, nil
}

// refuses a certificate by its number, or as that of revoked members alone.
func (r Revoked) refuses(c *x509.Certificate, is Pattern) error {
	if r.serials[serial(c.SerialNumber)] {
		return fmt.Errorf("certificate %s, of %s, is revoked", serial(c.SerialNumber), is.URI())
	}
	for _, p := range r.members {
		if p == is || p.Admits(is.Role, is.ID) {
			return fmt.Errorf("%s is revoked", is.URI())
		}
	}
	return nil
}

// serial of a certificate as it is written.
func serial(n *big.Int) string { return fmt.Sprintf("%x", n) }
