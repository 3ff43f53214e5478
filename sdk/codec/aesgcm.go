package codec

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/limpetrun/limpet/messages"
)

// Key encrypts payloads.
type Key struct {
	// ID is written beside what is encrypted: 1 to 255 bytes, not secret.
	ID string
	// Secret is the AES key: 16, 24 or 32 random bytes.
	Secret []byte
}

// sameBytesMin is the least that a key for comparing has.
const sameBytesMin = 16

const (
	// frameVersion begins each frame: version, flags, length of the key's id, the id,
	// the nonce, and what GCM makes. All before the nonce is authenticated.
	frameVersion = 1
	// flagDeflated: the payload was compressed (RFC 1951) before it was encrypted.
	flagDeflated = 1
	// deflateFrom is the size from which compressing is tried.
	deflateFrom = 256
	// inflatedMax bounds what a small frame may become.
	inflatedMax = 64 << 20
)

// AESGCM compresses payloads and encrypts them with AES in Galois/Counter Mode (NIST SP
// 800-38D), each under a random nonce of 12 bytes: use a key for no more than 2^32
// payloads. The first key encrypts, all decrypt.
//
// same, at least 16 random bytes, is a key for comparing: the cluster is told an HMAC of
// each payload, from which it learns only which payloads are equal. It stays when keys
// are changed, or else what is tried again meanwhile is taken for something new.
//
// The error is INVALID_ARGUMENT. What is compressed shows its length: do not put a
// secret and what an attacker chooses into one payload.
func AESGCM(same []byte, keys ...Key) (Codec, error) {
	c := &aesGCM{same: bytes.Clone(same), ciphers: map[string]cipher.AEAD{}}
	if len(same) < sameBytesMin {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "the key for comparing has %d bytes, and must have %d at least", len(same), sameBytesMin)
	}
	if len(keys) == 0 {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "no key is given: the first one encrypts, all decrypt")
	}
	for _, k := range keys {
		if len(k.ID) == 0 || len(k.ID) > 255 || c.ciphers[k.ID] != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "key id %q: must have 1 to 255 bytes, and be that of one key", k.ID)
		}
		block, err := aes.NewCipher(k.Secret)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "key %q: %w", k.ID, err)
		}
		if c.ciphers[k.ID], err = cipher.NewGCM(block); err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "key %q: %w", k.ID, err)
		}
	}
	c.current = keys[0].ID
	return c, nil
}

type aesGCM struct {
	same    []byte
	current string
	ciphers map[string]cipher.AEAD
}

func (c *aesGCM) Encode(payload []byte) (Encoded, error) {
	mac := hmac.New(sha256.New, c.same)
	mac.Write(payload)
	flags := byte(0)
	if smaller := deflated(payload); smaller != nil {
		payload, flags = smaller, flagDeflated
	}
	aead := c.ciphers[c.current]
	head := append([]byte{frameVersion, flags, byte(len(c.current))}, c.current...)
	frame := append(make([]byte, 0, len(head)+aead.NonceSize()+len(payload)+aead.Overhead()), head...)
	frame = frame[:len(head)+aead.NonceSize()]
	if _, err := rand.Read(frame[len(head):]); err != nil {
		return Encoded{}, err
	}
	return Encoded{Data: aead.Seal(frame, frame[len(head):], payload, head), Same: hex.EncodeToString(mac.Sum(nil)[:16])}, nil
}

func (c *aesGCM) Decode(frame []byte) ([]byte, error) {
	if len(frame) < 3 || frame[0] != frameVersion || frame[1]&^flagDeflated != 0 || len(frame) < 3+int(frame[2]) {
		return nil, errors.New("it is no frame of this codec")
	}
	head := frame[:3+int(frame[2])]
	id := string(head[3:])
	aead := c.ciphers[id]
	if aead == nil {
		return nil, fmt.Errorf("it is encrypted with key %q, which this codec does not have", id)
	}
	rest := frame[len(head):]
	if len(rest) < aead.NonceSize() {
		return nil, errors.New("the frame is cut short")
	}
	payload, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], head)
	if err != nil {
		return nil, fmt.Errorf("it was changed, or key %q is another one here: %w", id, err)
	}
	if frame[1]&flagDeflated == 0 {
		return payload, nil
	}
	return inflated(payload)
}

// deflated returns the payload compressed; nil if that does not pay.
func deflated(payload []byte) []byte {
	if len(payload) < deflateFrom {
		return nil
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil
	}
	if _, err := w.Write(payload); err != nil || w.Close() != nil || out.Len() >= len(payload) {
		return nil
	}
	return out.Bytes()
}

func inflated(data []byte) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(data))
	payload, err := io.ReadAll(io.LimitReader(r, inflatedMax+1))
	if err == nil && len(payload) > inflatedMax {
		err = fmt.Errorf("it has more than %d bytes when it is decompressed", inflatedMax)
	}
	return payload, err
}
