package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/limpetrun/limpet/cluster/identity"
)

// handshakeTime is how long the ends of a connection have to say who they are.
const handshakeTime = 5 * time.Second

// members are the credentials of both ends of remoting: TLS 1.3 with keys that say
// nothing of the secret; then each end proves that it has the secret, if there is one.
// With certificates each end shows one of the cluster's authority.
type members struct {
	certificates *Certificates
	// own is the certificate without an authority: of a key that is drawn when the
	// process starts, which proves nothing.
	own    tls.Certificate
	proves *proof
	// refused is told of who connects and is not let in.
	refused func(from net.Addr, err error)
}

// proved is what a connection has proved of the other end.
type proved struct {
	credentials.CommonAuthInfo
	// pattern of the certificate; nil without an authority.
	pattern *identity.Pattern
}

// AuthType implements credentials.AuthInfo.
func (proved) AuthType() string { return "limpet" }

// newMembers returns the credentials, plain text without secret and certificates.
func newMembers(c Config, refused func(net.Addr, error)) (credentials.TransportCredentials, error) {
	if c.Secret == "" && c.Certificates == nil {
		return insecure.NewCredentials(), nil
	}
	m := &members{certificates: c.Certificates, refused: refused}
	if c.Secret != "" {
		key, err := derive(c.Secret, "remoting")
		if err != nil {
			return nil, err
		}
		m.proves = &proof{key}
	}
	if m.certificates == nil {
		own, err := drawn()
		if err != nil {
			return nil, err
		}
		m.own = own
	}
	return m, nil
}

// drawn is the certificate of a new key.
func drawn() (tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	certificate, err := x509.CreateCertificate(nil, template, template, public, key)
	return tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}, err
}

// config of a connection that is being made.
func (m *members) config() *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ServerName: "limpet",
		ClientAuth: tls.RequireAnyClientCert,
		// The library would compare names, which mean nothing here. VerifyConnection
		// checks the authority, and the proof of the secret the rest.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		Certificates:           []tls.Certificate{m.own},
	}
	if m.certificates != nil {
		current := m.certificates.current.Load()
		c.Certificates = []tls.Certificate{current.pair}
		c.VerifyConnection = func(state tls.ConnectionState) error {
			_, err := current.check(state.PeerCertificates, time.Now())
			return err
		}
	}
	return c
}

// ClientHandshake implements credentials.TransportCredentials.
func (m *members) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return m.handshake(ctx, raw, tls.Client(raw, m.config()), proof.begin)
}

// ServerHandshake implements credentials.TransportCredentials.
func (m *members) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := m.handshake(context.Background(), raw, tls.Server(raw, m.config()), proof.answer)
	if err != nil && !errors.Is(err, io.EOF) { // Members look whether a port is open.
		m.refused(raw.RemoteAddr(), err)
	}
	return conn, info, err
}

func (m *members) handshake(ctx context.Context, raw net.Conn, conn *tls.Conn, prove func(proof, *tls.Conn) error) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	err := conn.HandshakeContext(ctx)
	if err == nil && m.proves != nil {
		err = prove(*m.proves, conn)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	info := proved{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if m.certificates != nil {
		pattern, err := m.certificates.current.Load().check(conn.ConnectionState().PeerCertificates, time.Now())
		if err != nil {
			_ = raw.Close()
			return nil, nil, err
		}
		info.pattern = &pattern
		return m.certificates.track(conn, raw), info, nil
	}
	return conn, info, nil
}

// Info implements credentials.TransportCredentials.
func (m *members) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials: nothing in it changes.
func (m *members) Clone() credentials.TransportCredentials { return m }

// OverrideServerName implements credentials.TransportCredentials: names mean nothing.
func (m *members) OverrideServerName(string) error { return nil }

// provedOf is what the connection of a stream has proved; nil without an authority.
func provedOf(ctx context.Context) *identity.Pattern {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(proved)
	if !ok {
		return nil
	}
	return info.pattern
}
