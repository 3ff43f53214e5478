package messages

import (
	"fmt"
	"strconv"
	"strings"
)

// EventPattern is the pattern of the keys that a branch waits for.
func (b *WaitBranch) EventPattern() string {
	if b.GetEventPrefix() {
		return b.GetEventKey() + "*"
	}
	return b.GetEventKey()
}

// EventWaitID names a branch of a call that waits for an event, in its run. Code that
// is deployed may have the call wait for another event: that is another id. So is that
// of the same call in another generation of the run, so that what was on its way to a
// wait before a replay, or before the run went on as new, does not decide this one.
func EventWaitID(generation int, step, name, key string, branch int, b *WaitBranch) string {
	parts := []string{"event wait", b.EventPattern(), b.GetCondition(), strconv.FormatInt(b.GetSinceMs(), 10)}
	if generation > 0 {
		parts = append(parts, strconv.Itoa(generation))
	}
	what := digest(5, parts...)
	return fmt.Sprintf("%s %s %d %s %s", step, name, branch, what, key)
}

// CallOfEventWait is the step, and the name and key of the call, of an EventWaitID.
func CallOfEventWait(id string) (step, name, key string) {
	parts := strings.SplitN(id, " ", 5)
	if len(parts) < 5 {
		return "", "", ""
	}
	return parts[0], parts[1], parts[4]
}
