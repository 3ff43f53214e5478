package codec_test

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/sdk/codec"
)

// FuzzFrame: what the codec did not make is refused, and what it made is opened.
func FuzzFrame(f *testing.F) {
	c, err := codec.AESGCM([]byte(strings.Repeat("s", 16)), codec.Key{ID: "key", Secret: make([]byte, 32)})
	if err != nil {
		f.Fatal(err)
	}
	e, err := c.Encode([]byte(strings.Repeat("hush", 100)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Data[:8])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := c.Decode(data); err == nil {
			t.Errorf("%q is opened as %q", data, plain)
		}
		e, err := c.Encode(data)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := c.Decode(e.Data); err != nil || string(plain) != string(data) {
			t.Errorf("%q is opened as %q, %v", data, plain, err)
		}
	})
}
