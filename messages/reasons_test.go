package messages

import "testing"

// TestEveryReasonHasItsWords: no reason is without words, and no two have the
// same, so that a reason can be read back from them.
func TestEveryReasonHasItsWords(t *testing.T) {
	for n, name := range Reason_name {
		r := Reason(n)
		if words, ok := reasonWords[r]; !ok || (words == "") != (n == 0) || ReasonOf(words) != r {
			t.Errorf("%s has the words %q, which are those of %s", name, words, ReasonOf(words))
		}
	}
	seen := map[string]string{}
	for n, name := range ReleaseReason_name {
		words, ok := releaseWords[ReleaseReason(n)]
		if !ok || (words == "") != (n == 0) || seen[words] != "" {
			t.Errorf("%s has the words %q, which are those of %s", name, words, seen[words])
		}
		seen[words] = name
	}
	if got := Reason(9999).Words(); got != "reason 9999" {
		t.Errorf("a later version's reason is %q", got)
	}
	if got := ReleaseReason(9999).Words(); got != "reason 9999" {
		t.Errorf("a later version's release is %q", got)
	}
}
