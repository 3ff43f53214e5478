package remote

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// derive returns a key for one purpose; nobody who has it learns the secret or
// the key of another purpose.
func derive(secret, purpose string, length int) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(secret), nil, "limpet cluster v1 "+purpose, length)
}

// GossipKey returns the key by which gossip is encrypted with AES-256, nil without
// a secret.
func GossipKey(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	return derive(secret, "gossip", 32)
}

// transportCredentials returns those of both ends of remoting: plain text
// without a secret, else TLS 1.3 in which each end proves that it has the key
// derived from the secret. Certificates only carry that key; names and dates
// mean nothing.
func transportCredentials(secret string) (client, server credentials.TransportCredentials, _ error) {
	if secret == "" {
		return insecure.NewCredentials(), insecure.NewCredentials(), nil
	}
	seed, err := derive(secret, "remoting", ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{serverName}}
	certificate, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}},
		ServerName:   serverName,
		ClientAuth:   tls.RequireAnyClientCert,
		// The library's check is of names and authorities; ours, of the key
		// itself, is stricter and made on both sides, also of resumed sessions.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, certificate) {
				return errors.New("the peer has another secret")
			}
			return nil
		},
		SessionTicketsDisabled: true,
	}
	return credentials.NewTLS(config), credentials.NewTLS(config.Clone()), nil
}

const serverName = "limpet"
