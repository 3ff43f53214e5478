// Package codec encodes payloads before they leave a client or a worker, and decodes
// them where they arrive: the cluster stores and passes on what it cannot read.
//
// Give the same Codec to sdk.ClientConfig and to worker.Config. Then the following are
// encoded: inputs and outputs, the results of sdk.Do, messages, events, progress,
// streams, queries and their answers, and what Handoff returns. Not encoded are names,
// keys and metadata, the text of errors, and log lines: keep secrets out of them.
//
// What follows from that the cluster cannot read a payload:
//   - An input is checked against its schema by the client and the worker only, as far
//     as their types do.
//   - A condition of sdk.WaitEvent sees no field of the event.
//   - A payload takes a third more room than its encoding has bytes; the limits hold
//     for what is sent.
//
// A payload that is not encoded is taken as it is, so a codec can be introduced while
// runs go on, workers first, then clients. To change a key give all workers and clients
// the new one behind the old one first, then put it in front.
//
// Imports only messages.
package codec

import "github.com/limpetrun/limpet/messages"

// Encoded is what Encode has made of a payload.
type Encoded = messages.Encoded

// Codec makes payloads unreadable and readable again. It is used concurrently.
type Codec interface {
	// Encode returns a payload in a form that only Decode can read. Two encodings of
	// one payload may differ, but for Same: what arrives twice is known as the same
	// thing by it.
	Encode(payload []byte) (Encoded, error)
	// Decode returns the payload of which Encode has made Encoded.Data, by whatever
	// key it was.
	Decode(data []byte) ([]byte, error)
}

// Seal encodes a payload as it is sent.
func Seal(c Codec, payload []byte) ([]byte, error) {
	if len(payload) == 0 || messages.IsEncoded(payload) {
		return payload, nil
	}
	e, err := c.Encode(payload)
	if err != nil {
		return nil, messages.Errorf(messages.CodeCodecFailed, "%d bytes were not encoded: %w", len(payload), err)
	}
	return e.JSON(), nil
}

// Open decodes a payload as it was sent; one that is not encoded is returned as it is.
func Open(c Codec, payload []byte) ([]byte, error) {
	if !messages.IsEncoded(payload) {
		return payload, nil
	}
	e, ok := messages.ParseEncoded(payload)
	if !ok {
		return nil, messages.Errorf(messages.CodeCodecFailed, "%d bytes are not what a codec has sent", len(payload))
	}
	plain, err := c.Decode(e.Data)
	if err != nil {
		return nil, messages.Errorf(messages.CodeCodecFailed, "%d bytes were not decoded: %w", len(e.Data), err)
	}
	return plain, nil
}
