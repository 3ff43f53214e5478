package main

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

// A server has its pages unless it is told not to; a prefix that is none is
// refused before anything begins.
func TestPagesOfAServer(t *testing.T) {
	for _, c := range []struct {
		ui, prefix string
		pages      bool
		code       messages.Code
	}{{"on", "", true, ""}, {"on", "/limpet", true, ""}, {"read-only", "", true, ""}, {"off", "", false, ""}, {"on", "limpet", false, messages.CodeInvalidArgument}} {
		got, err := nodeConfig(config.Values{Store: "memory", Preset: "local", UI: c.ui, UIPrefix: c.prefix})
		if messages.CodeOf(err) != c.code || err == nil && (got.Pages != nil) != c.pages {
			t.Errorf("ui %s, prefix %q: pages %v, %v", c.ui, c.prefix, got.Pages != nil, err)
		}
	}
	r := execute(t.Context(), nil, "config", "--ui", "perhaps")
	if r.code == exitOK || !strings.Contains(r.err, "perhaps") {
		t.Errorf("another word for it: %d %s", r.code, r.err)
	}
	if _, err := nodeConfig(config.Values{Store: "memory", Preset: "local", Pprof: "0.0.0.0:6060"}); messages.CodeOf(err) != messages.CodeInvalidArgument {
		t.Errorf("profiles beyond loopback: %v", err)
	}
}
