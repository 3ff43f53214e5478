package remote

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"sync"
)

const (
	// stretchTurns make a guess of a secret cost some 50 ms of a processor.
	stretchTurns = 200_000
	keyBytes     = 32
)

// stretched keeps the keys of the secrets of this process: a process may have many
// nodes of one cluster.
var stretched struct {
	mu   sync.Mutex
	keys map[[sha256.Size]byte][]byte
}

// stretch makes a key of a secret slowly, so that guesses cost.
func stretch(secret string) ([]byte, error) {
	name := sha256.Sum256([]byte(secret))
	stretched.mu.Lock()
	defer stretched.mu.Unlock()
	if key, ok := stretched.keys[name]; ok {
		return key, nil
	}
	key, err := pbkdf2.Key(sha256.New, secret, []byte("limpet cluster v2"), stretchTurns, keyBytes)
	if err != nil {
		return nil, err
	}
	if stretched.keys == nil {
		stretched.keys = map[[sha256.Size]byte][]byte{}
	}
	stretched.keys[name] = key
	return key, nil
}

// derive returns a key for one purpose; nobody who has it learns the secret or the key
// of another purpose.
func derive(secret, purpose string) ([]byte, error) {
	key, err := stretch(secret)
	if err != nil {
		return nil, err
	}
	return hkdf.Expand(sha256.New, key, "limpet cluster v2 "+purpose, keyBytes)
}

// GossipKey returns the key by which gossip is encrypted with AES-256, nil without
// a secret.
func GossipKey(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	return derive(secret, "gossip")
}

// proof is how the two ends of a TLS connection prove each other that they have the same
// secret. Each sends a hash of its side and of what only this connection has, keyed by
// the secret. Who connects begins, and who does not have the secret gets no answer: so a
// stranger learns nothing but whether one guess is right. Who stands in for the other
// end while somebody connects gets one hash to try guesses on: those cost what stretch
// costs, and a secret is not guessed in so many (identity.WeakSecret). Nothing can be
// passed on from one connection to another.
type proof struct{ key []byte }

var errOtherSecret = errors.New("the other side has another secret, or none")

// hash is what one side sends.
func (p proof) hash(conn *tls.Conn, side string) ([]byte, error) {
	state := conn.ConnectionState()
	binding, err := state.ExportKeyingMaterial("EXPORTER-limpet-member", nil, keyBytes)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, p.key)
	h.Write([]byte(side))
	h.Write(binding)
	return h.Sum(nil), nil
}

// begin is the part of who connects.
func (p proof) begin(conn *tls.Conn) error {
	if err := p.send(conn, "client"); err != nil {
		return err
	}
	return p.check(conn, "server")
}

// answer is the part of who is connected to.
func (p proof) answer(conn *tls.Conn) error {
	if err := p.check(conn, "client"); err != nil {
		return err
	}
	return p.send(conn, "server")
}

func (p proof) send(conn *tls.Conn, side string) error {
	mine, err := p.hash(conn, side)
	if err == nil {
		_, err = conn.Write(mine)
	}
	return err
}

func (p proof) check(conn *tls.Conn, side string) error {
	want, err := p.hash(conn, side)
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !hmac.Equal(got, want) {
		return errors.Join(errOtherSecret, err)
	}
	return nil
}
