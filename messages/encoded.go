package messages

import (
	"bytes"
	"encoding/json"
)

// Encoded is a payload that a codec of the user's has made unreadable. It travels as
// JSON, so that whatever takes a payload takes it; nothing in the cluster looks inside:
// no schema is checked against it, and no condition finds a field in it.
type Encoded struct {
	// Data is what the codec has made.
	Data []byte `json:"data"`
	// Same is equal for encodings of one payload, which differ otherwise: so a start,
	// spawn, message or event that comes again is known as the same one. Empty: never.
	Same string `json:"same"`
}

// encodedPrefix begins each payload that is encoded, and no other: its spelling is that
// of JSON below.
const encodedPrefix = `{"limpet.encoded":`

// JSON is the payload to send.
func (e Encoded) JSON() []byte {
	inner, _ := json.Marshal(e) // of bytes and text
	return append(append([]byte(encodedPrefix), inner...), '}')
}

// ParseEncoded returns what a codec has made of a payload; false if none did.
func ParseEncoded(payload []byte) (e Encoded, ok bool) {
	if !IsEncoded(payload) {
		return e, false
	}
	inner := payload[len(encodedPrefix) : len(payload)-1]
	decoder := json.NewDecoder(bytes.NewReader(inner))
	decoder.DisallowUnknownFields()
	return e, decoder.Decode(&e) == nil && !decoder.More()
}

// IsEncoded says that a payload was made by a codec, without looking whether it is whole.
func IsEncoded(payload []byte) bool {
	return bytes.HasPrefix(payload, []byte(encodedPrefix)) && payload[len(payload)-1] == '}'
}

// SamePayload says that two payloads are equal, also below their encodings.
func SamePayload(a, b []byte) bool {
	return bytes.Equal(a, b) || IsEncoded(a) && IsEncoded(b) && HashInput(a) == HashInput(b)
}

// HashInput names a payload where two are compared.
func HashInput(payload []byte) string {
	if e, ok := ParseEncoded(payload); ok && e.Same != "" {
		return digest(10, "encoded", e.Same)
	}
	return digest(10, "input", string(payload))
}
