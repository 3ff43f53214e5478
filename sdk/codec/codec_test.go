package codec_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
)

func aesGCM(t *testing.T, same string, keys ...string) codec.Codec {
	t.Helper()
	var all []codec.Key
	for _, id := range keys {
		all = append(all, codec.Key{ID: id, Secret: bytes.Repeat([]byte(id[:1]), 32)})
	}
	c, err := codec.AESGCM([]byte(strings.Repeat(same, 16)), all...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func seal(t *testing.T, c codec.Codec, payload string) []byte {
	t.Helper()
	sealed, err := codec.Seal(c, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// TestAESGCM: what is sealed tells nothing, is opened by whoever has its key, also after
// the key was changed, and is known as the same thing.
func TestAESGCM(t *testing.T) {
	old := aesGCM(t, "s", "a2025")
	changed := aesGCM(t, "s", "b2026", "a2025")
	for _, payload := range []string{`"hush"`, "null", "no JSON \x00\xff", strings.Repeat("hush", 10_000)} {
		sealed := seal(t, old, payload)
		if bytes.Contains(sealed, []byte("hush")) || !messages.IsEncoded(sealed) {
			t.Errorf("%.40q is sealed as %.80q", payload, sealed)
		}
		plain, err := codec.Open(changed, sealed)
		if err != nil || string(plain) != payload {
			t.Errorf("%.40q is opened as %.40q, %v", payload, plain, err)
		}
		again := seal(t, changed, payload)
		if bytes.Equal(again, sealed) || !messages.SamePayload(again, sealed) {
			t.Errorf("%.40q is not known as the same: %.80q, %.80q", payload, again, sealed)
		}
		if _, err := codec.Open(old, again); messages.CodeOf(err) != messages.CodeCodecFailed || !strings.Contains(err.Error(), `"b2026"`) {
			t.Errorf("without the new key: %v", err)
		}
	}
	if big := seal(t, old, strings.Repeat("hush", 10_000)); len(big) > 4000 {
		t.Errorf("40,000 bytes that repeat themselves are sent as %d", len(big))
	}
	if messages.SamePayload(seal(t, old, "1"), seal(t, old, "2")) || messages.SamePayload(seal(t, old, "1"), seal(t, aesGCM(t, "r", "a2025"), "1")) || messages.SamePayload(seal(t, old, "1"), []byte("1")) {
		t.Error("payloads that differ are taken for the same")
	}
}

// TestWhatWasChangedIsNotOpened, in whichever byte; what is not encoded is left alone,
// and nothing is encoded twice.
func TestWhatWasChangedIsNotOpened(t *testing.T) {
	c := aesGCM(t, "s", "key")
	e, err := c.Encode([]byte(strings.Repeat("hush", 100)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.Data {
		data := bytes.Clone(e.Data)
		data[i] ^= 1
		if plain, err := c.Decode(data); err == nil {
			t.Errorf("with byte %d changed it is opened as %q", i, plain)
		}
		if plain, err := c.Decode(e.Data[:i]); err == nil {
			t.Errorf("cut after %d bytes it is opened as %q", i, plain)
		}
	}
	for _, payload := range []string{"", "7", `{"limpet.encoded":`, `{"limpet.encodes":{}}`} {
		if plain, err := codec.Open(c, []byte(payload)); err != nil || string(plain) != payload {
			t.Errorf("%q is opened as %q, %v", payload, plain, err)
		}
	}
	for _, payload := range []string{`{"limpet.encoded":}`, `{"limpet.encoded":{"data":"AAAA","same":"","more":1}}`, `{"limpet.encoded":{"data":"AAAA","same":""}{}}`} {
		if _, err := codec.Open(c, []byte(payload)); messages.CodeOf(err) != messages.CodeCodecFailed {
			t.Errorf("%q is opened: %v", payload, err)
		}
	}
	sealed := seal(t, c, "7")
	if twice := seal(t, c, string(sealed)); !bytes.Equal(twice, sealed) {
		t.Errorf("%q is sealed again as %q", sealed, twice)
	}
}

// TestKeysThatAreRefused says what is wrong with each.
func TestKeysThatAreRefused(t *testing.T) {
	same, secret := make([]byte, 16), make([]byte, 32)
	for name, c := range map[string]struct {
		same []byte
		keys []codec.Key
		says string
	}{
		"short for comparing": {same[:15], []codec.Key{{ID: "a", Secret: secret}}, "15 bytes"},
		"none":                {same, nil, "no key"},
		"no id":               {same, []codec.Key{{Secret: secret}}, `key id ""`},
		"one id twice":        {same, []codec.Key{{ID: "a", Secret: secret}, {ID: "a", Secret: secret}}, `key id "a"`},
		"of no size of AES":   {same, []codec.Key{{ID: "a", Secret: secret[:31]}}, `key "a"`},
	} {
		if _, err := codec.AESGCM(c.same, c.keys...); messages.CodeOf(err) != messages.CodeInvalidArgument || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %s", name, err, c.says)
		}
	}
}

type failing struct{}

func (failing) Encode([]byte) (codec.Encoded, error) { return codec.Encoded{}, errors.New("no key") }
func (failing) Decode([]byte) ([]byte, error)        { return nil, errors.New("no key") }

func TestACodecThatFailsIsNamed(t *testing.T) {
	if _, err := codec.Seal(failing{}, []byte("7")); messages.CodeOf(err) != messages.CodeCodecFailed || !strings.Contains(err.Error(), "no key") {
		t.Error(err)
	}
}
