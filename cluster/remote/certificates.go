package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/cluster/identity"
	"github.com/limpetrun/limpet/messages"
)

const (
	// reloadEvery is how often it is looked whether the files have changed.
	reloadEvery = 2 * time.Second
	// identityFileBytesMax of each file.
	identityFileBytesMax = 1 << 20
)

// Files are where a member finds its certificate and whom it may believe, in PEM. They
// are read again when they change.
type Files struct {
	// CA is the trust bundle: certificates of authorities.
	CA string
	// Certificate of this member, those between it and the root after it, and its Key.
	Certificate, Key string
	// Revoked lists what is revoked; empty for none.
	Revoked string
}

// Certificates are a member's own and those that it believes, as they are now.
type Certificates struct {
	files   Files
	self    identity.Member
	log     *slog.Logger
	current atomic.Pointer[trusted]
	// failures counts new files that could not be used.
	failures atomic.Uint64
	// seen is what was read the last time, good or not. Of the goroutine that follows.
	seen [sha256.Size]byte

	mu   sync.Mutex
	open map[*tracked]struct{}
}

// trusted is what one reading of the files has given.
type trusted struct {
	pair  tls.Certificate
	trust *identity.Trust
}

func (t *trusted) check(chain []*x509.Certificate, now time.Time) (identity.Pattern, error) {
	return t.trust.Check(chain, now)
}

// LoadCertificates reads the files of a member.
//
// Errors: CERTIFICATE_REFUSED.
func LoadCertificates(files Files, self identity.Member, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, self: self, log: log, open: map[*tracked]struct{}{}}
	read, err := c.read()
	if err != nil {
		return nil, messages.Errorf(messages.CodeCertificateRefused, "%w", err)
	}
	t, err := c.parse(read)
	if err != nil {
		return nil, messages.Errorf(messages.CodeCertificateRefused, "%w", err)
	}
	c.seen = read.sum()
	c.current.Store(t)
	return c, nil
}

// contents of the files.
type contents struct{ ca, certificate, key, revoked []byte }

func (c contents) sum() [sha256.Size]byte {
	return sha256.Sum256(bytes.Join([][]byte{c.ca, c.certificate, c.key, c.revoked}, []byte{0}))
}

func (c *Certificates) read() (got contents, err error) {
	for _, f := range []struct {
		path string
		to   *[]byte
	}{{c.files.CA, &got.ca}, {c.files.Certificate, &got.certificate}, {c.files.Key, &got.key}, {c.files.Revoked, &got.revoked}} {
		if f.path == "" && f.to == &got.revoked {
			continue
		}
		if *f.to, err = os.ReadFile(f.path); err != nil {
			return got, err
		}
		if len(*f.to) > identityFileBytesMax {
			return got, fmt.Errorf("%s is larger than %d bytes", f.path, identityFileBytesMax)
		}
	}
	return got, nil
}

// parse makes what the files hold usable, or says what is wrong with it. No error holds
// a part of the key.
func (c *Certificates) parse(got contents) (*trusted, error) {
	revoked, err := identity.ParseRevoked(got.revoked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.files.Revoked, err)
	}
	trust, err := identity.NewTrust(got.ca, revoked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.files.CA, err)
	}
	pair, err := tls.X509KeyPair(got.certificate, got.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.files.Certificate, c.files.Key, err)
	}
	chain := make([]*x509.Certificate, len(pair.Certificate))
	for i, der := range pair.Certificate {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("%s: %w", c.files.Certificate, err)
		}
	}
	if err := trust.CheckOwn(chain, c.self, time.Now()); err != nil {
		return nil, fmt.Errorf("%s: %w", c.files.Certificate, err)
	}
	return &trusted{pair, trust}, nil
}

// Follow reads the files again when they have changed, until ctx ends. What cannot be
// used is refused, and what was used before stays. It calls changed when something new is
// in use.
func (c *Certificates) Follow(ctx context.Context, changed func()) {
	t := time.NewTicker(reloadEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if c.reload() {
				changed()
			}
		}
	}
}

// Revokes says that a member is revoked by its id.
func (c *Certificates) Revokes(m identity.Member) error { return c.current.Load().trust.Revokes(m) }

// reload reads the files again if they have changed, and says whether something new is in
// use. Connections of who is not to be trusted any more end.
func (c *Certificates) reload() bool {
	read, err := c.read()
	// What could not be read once is said once.
	sum := read.sum()
	if sum == c.seen {
		return false
	}
	c.seen = sum
	var t *trusted
	if err == nil {
		t, err = c.parse(read)
	}
	if err != nil {
		c.failures.Add(1)
		c.log.Error("the new files of the member's identity cannot be used; the old ones stay in use", "error", err)
		return false
	}
	c.current.Store(t)
	ended := c.endOthers(t)
	c.log.Info("the files of the member's identity were read again", "expires", leafOf(t.pair).NotAfter, "connections_ended", ended)
	return true
}

func leafOf(pair tls.Certificate) *x509.Certificate {
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return new(x509.Certificate) // It was parsed before.
	}
	return leaf
}

// Failures is how often new files could not be used.
func (c *Certificates) Failures() uint64 { return c.failures.Load() }

// Expires is when the certificate in use does.
func (c *Certificates) Expires() time.Time { return leafOf(c.current.Load().pair).NotAfter }

// endOthers ends the connections that are not to be trusted any more.
func (c *Certificates) endOthers(t *trusted) (ended int) {
	c.mu.Lock()
	var ending []*tracked
	for conn := range c.open {
		if err := t.trust.CheckStanding(conn.chain, time.Now()); err != nil {
			c.log.Warn("a connection of a member that is not to be trusted any more is ended", "from", conn.RemoteAddr(), "error", err)
			ending = append(ending, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range ending {
		_ = conn.Close()
	}
	return len(ending)
}

// tracked is a connection with the certificates of its other end.
type tracked struct {
	net.Conn
	of    *Certificates
	chain []*x509.Certificate
	// raw is closed under it: the goodbye of TLS waits for who does not read.
	raw net.Conn
}

func (c *Certificates) track(conn *tls.Conn, raw net.Conn) net.Conn {
	t := &tracked{Conn: conn, of: c, chain: conn.ConnectionState().PeerCertificates, raw: raw}
	c.mu.Lock()
	c.open[t] = struct{}{}
	c.mu.Unlock()
	return t
}

// Close implements net.Conn.
func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	_ = t.raw.Close()
	return t.Conn.Close()
}
