package main

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages/api"
)

// Payloads are printed as they are, to the last digit; what only looks like one
// is left alone.
func TestPayloadsAreShownAsTheyAre(t *testing.T) {
	input := `{"far":1e309,"n":9007199254740993,"text":"a<b>&c","z":-1.50}`
	data, err := messageJSON(&api.Run{Input: []byte(input), Metadata: map[string]string{"input": "MTIz"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"input":` + input, `{"input":"MTIz"}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
}
