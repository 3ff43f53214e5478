package messages

import "fmt"

// Limits. Each is named, with its value, in the error that it causes.
const (
	// PayloadBytesMax limits the input of a run and the input and output of a
	// step, in bytes of JSON.
	PayloadBytesMax = 1 << 20
	// StepsMax limits the steps of a workflow.
	StepsMax = 1000
	// AttemptsMax limits the attempts of a run, over all its steps.
	AttemptsMax = 10_000
	// NameBytesMax limits names of workflows, steps, workers, pools, labels
	// and event keys.
	NameBytesMax = 128
	// BulkRunsMax limits the runs of one StartRuns call.
	BulkRunsMax = 10_000
)

// CheckName returns INVALID_ARGUMENT, naming what, unless the name has 1 to
// NameBytesMax characters of A-Z a-z 0-9 . _ : / -
func CheckName(what, name string) error {
	switch {
	case name == "":
		return Errorf(CodeInvalidArgument, "%s is empty", what)
	case len(name) > NameBytesMax:
		return Errorf(CodeInvalidArgument, "%s %q has %d characters, more than NameBytesMax = %d",
			what, name[:32]+"…", len(name), NameBytesMax)
	}
	for i, r := range name {
		if !nameRune(r) {
			return Errorf(CodeInvalidArgument, "%s %q: character %q at position %d is not one of A-Z a-z 0-9 . _ : / -",
				what, name, r, i+1)
		}
	}
	return nil
}

func nameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r == '.' || r == '_' || r == ':' || r == '/' || r == '-'
}

// CheckPayload returns PAYLOAD_TOO_LARGE, naming what, for more than
// PayloadBytesMax bytes.
func CheckPayload(what string, payload []byte) error {
	if len(payload) <= PayloadBytesMax {
		return nil
	}
	return Errorf(CodePayloadTooLarge, "%s has %s, more than PayloadBytesMax = %s",
		what, bytesText(len(payload)), bytesText(PayloadBytesMax))
}

func bytesText(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d bytes (%.2f MiB)", n, float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
