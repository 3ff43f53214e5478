package codec_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/codec"
)

// TestMain is the program of a codec when it is asked to be one.
func TestMain(m *testing.M) {
	switch os.Getenv("CODEC_TEST") {
	case "serve":
		c, err := codec.AESGCM([]byte(strings.Repeat("s", 16)), codec.Key{ID: "key", Secret: []byte(strings.Repeat("k", 32))})
		if err == nil {
			err = codec.Serve(c, os.Stdin, os.Stdout)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "fail":
		fmt.Fprintln(os.Stderr, "no key ring")
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// TestRemote asks a program and a URL; both say what they cannot do.
func TestRemote(t *testing.T) {
	here := aesGCM(t, "s", "key")
	server := httptest.NewServer(codec.Handler(here))
	t.Cleanup(server.Close)
	t.Setenv("CODEC_TEST", "serve")
	for _, where := range []string{os.Args[0], server.URL} {
		c := codec.Remote(where)
		for _, payload := range []string{`"hush"`, strings.Repeat("no JSON \x00", 10_000)} {
			sealed := seal(t, c, payload)
			if plain, err := codec.Open(c, sealed); err != nil || string(plain) != payload || !messages.IsEncoded(sealed) {
				t.Errorf("%s: %.40q is opened as %.40q, %v", where, payload, plain, err)
			}
		}
		if _, err := c.Decode([]byte("no frame")); err == nil || !strings.Contains(err.Error(), "no frame of this codec") {
			t.Errorf("%s: %v", where, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// TestRemoteThatFails says what the program said, and what the URL answers.
func TestRemoteThatFails(t *testing.T) {
	server := httptest.NewServer(nil) // not found
	t.Cleanup(server.Close)
	t.Setenv("CODEC_TEST", "fail")
	for where, says := range map[string]string{os.Args[0]: "no key ring", server.URL: "404 Not Found", "/does/not/exist": "no such file", " ": "no program"} {
		c := codec.Remote(where)
		if _, err := codec.Seal(c, []byte("7")); messages.CodeOf(err) != messages.CodeCodecFailed || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want it to say %q", where, err, says)
		}
	}
}
