package condition

import (
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
)

// FuzzCondition: whatever a condition and an event are, the one is refused, or says of
// the other whether it fits or by which code it cannot, and no error tells a payload.
func FuzzCondition(f *testing.F) {
	f.Add(`payload.amount > 10 && key.startsWith("user:")`, `{"amount": 11}`)
	f.Add(`payload.all(x, x.exists(y, y == x))`, `[[1],[2]]`)
	f.Add(`payload`, `1e309`)
	f.Fuzz(func(t *testing.T, text, payload string) {
		c, err := Compile(text)
		if err != nil {
			return
		}
		const canary = "canary-of-a-payload"
		fits, err := c.Fits(Event{Key: "key", ID: "id", Payload: []byte(strings.ReplaceAll(payload, "secret", canary))})
		if err != nil && (fits || messages.CodeOf(err) != messages.CodeInvalidInput || strings.Contains(err.Error(), canary) && !strings.Contains(text, canary)) {
			t.Errorf("%q of %q: %v, %v", text, payload, fits, err)
		}
	})
}
