// Package authority makes the certificates of a cluster: an authority of its own, and
// what that signs for servers and workers.
//
// Data flow: New → an authority; Authority.Issue → the certificate and key of a member.
// Both are PEM, and where they are kept is the caller's affair.
//
// Keys are ECDSA on P-256, which what else reads the files, such as a load balancer,
// understands. The key of the authority is needed for Issue alone: no member has it.
//
// Imports only identity.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/limpetrun/limpet/cluster/identity"
)

// backdated is how long before its making a certificate holds: clocks differ.
const backdated = 5 * time.Minute

// serialBits of certificates.
const serialBits = 127

// Pair is a certificate and its key, in PEM.
type Pair struct{ Certificate, Key []byte }

// Authority signs certificates.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// New makes an authority that holds for so long.
func New(name string, validFor time.Duration) (Pair, error) {
	key, number, err := draw()
	if err != nil {
		return Pair{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(validFor),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, template, key, key)
}

// Read takes an authority, whichever tool made it.
func Read(p Pair) (*Authority, error) {
	block, _ := pem.Decode(p.Certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the authority's certificate is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the authority's certificate: %w", err)
	}
	if !certificate.IsCA {
		return nil, errors.New("the certificate is not that of an authority")
	}
	key, err := readKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("the authority's key: %w", err)
	}
	if public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("the key is not that of the authority's certificate")
	}
	return &Authority{certificate, key}, nil
}

func readKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not PKCS #8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it cannot sign")
	}
	return signer, nil
}

// Issue makes the key and the certificate of the members that a pattern admits. It holds
// for so long, but not longer than the authority.
func (a *Authority) Issue(of identity.Pattern, validFor time.Duration) (Pair, error) {
	uri, err := url.Parse(of.URI())
	if err != nil {
		return Pair{}, err
	}
	key, number, err := draw()
	if err != nil {
		return Pair{}, err
	}
	now := time.Now()
	until := now.Add(validFor)
	if until.After(a.certificate.NotAfter) {
		until = a.certificate.NotAfter
	}
	return sign(&x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: "limpet " + string(of.Role)}, URIs: []*url.URL{uri},
		NotBefore: now.Add(-backdated), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.certificate, key, a.key)
}

// draw makes a key and a serial number.
func draw() (*ecdsa.PrivateKey, *big.Int, error) {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return key, number.Add(number, big.NewInt(1)), err
}

func sign(template, by *x509.Certificate, key, with crypto.Signer) (Pair, error) {
	certificate, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	if err != nil {
		return Pair{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}
