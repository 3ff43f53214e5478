package coded

import (
	"bytes"
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
)

func key(t *testing.T) codec.Codec {
	t.Helper()
	c, err := codec.AESGCM(make([]byte, 16), codec.Key{ID: "key", Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestEveryPayloadOfAMessage is sealed and opened, wherever it stands; the message that
// was given stays as it is.
func TestEveryPayloadOfAMessage(t *testing.T) {
	c := key(t)
	plain := &messages.Dispatch{RunId: "r", Input: []byte(`"in"`), Parents: map[string][]byte{"a": []byte("1"), "b": []byte("2")}, LastProgress: []byte("3"),
		HandedOff: []*messages.HandedState{{Local: "l", Data: []byte("no JSON \x00")}}}
	given := proto.CloneOf(plain)
	secret, err := sealed(c, plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{secret.Input, secret.Parents["a"], secret.Parents["b"], secret.LastProgress, secret.HandedOff[0].Data} {
		if !messages.IsEncoded(payload) {
			t.Errorf("%q is not encoded", payload)
		}
	}
	open, err := opened(c, secret)
	if err != nil || !proto.Equal(open, plain) || !proto.Equal(plain, given) || !messages.IsEncoded(secret.Input) {
		t.Errorf("opened: %v, %v", open, err)
	}
	if same, err := opened(c, plain); err != nil || same != plain {
		t.Errorf("one without encoded payloads: %v, %v", same, err)
	}
}

// TestLocalState is keyed by what the input says, and handed off encoded.
func TestLocalState(t *testing.T) {
	c := key(t)
	var seen []byte
	l := Local(c, &attempt.Local{
		Key:     func(input []byte) (string, error) { return string(input), nil },
		Handoff: func(context.Context, any) ([]byte, error) { return []byte("state"), nil },
		Bind:    func(_ context.Context, b *attempt.Build) (any, error) { seen = b.HandedOff.Data; return nil, nil },
	})
	input, err := codec.Seal(c, []byte("7"))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := l.Key(input); err != nil || name != "7" {
		t.Errorf("its key is %q, %v", name, err)
	}
	handed, err := l.Handoff(t.Context(), nil)
	if err != nil || bytes.Contains(handed, []byte("state")) {
		t.Errorf("handed off as %q, %v", handed, err)
	}
	if _, err := l.Bind(t.Context(), &attempt.Build{Dispatch: &messages.Dispatch{}, HandedOff: &messages.HandedState{Data: handed}}); err != nil || string(seen) != "state" {
		t.Errorf("taken over as %q, %v", seen, err)
	}
}
