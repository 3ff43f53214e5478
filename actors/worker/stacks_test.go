package worker

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// profileOf is a profile of goroutines of function 7 at one place.
func profileOf(names ...string) []byte {
	var b []byte
	put := func(number protowire.Number, message []byte) {
		b = protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), message)
	}
	number := func(message []byte, is protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(message, is, protowire.VarintType), value)
	}
	all := append([]string{"", attemptLabel, "7"}, names...)
	var sample []byte
	label := number(number(nil, labelKey, 1), labelValue, 2)
	sample = protowire.AppendBytes(protowire.AppendTag(sample, sampleLabel, protowire.BytesType), label)
	for i := range names {
		sample = number(sample, samplePlace, uint64(i+1))
	}
	put(profileSample, sample)
	for i := range names {
		line := number(nil, lineFunction, uint64(i+1))
		put(profileLocation, protowire.AppendBytes(protowire.AppendTag(number(nil, locationID, uint64(i+1)), locationLine, protowire.BytesType), line))
		put(profileFunction, number(number(nil, functionID, uint64(i+1)), functionName, uint64(i+3)))
	}
	for _, s := range all {
		put(profileString, []byte(s))
	}
	return b
}

// What a function does is told by where its goroutines stand.
func TestStacks(t *testing.T) {
	for name, tc := range map[string]struct {
		names []string
		works bool
	}{
		"a wait of a call":             {[]string{"runtime.gopark", "runtime.selectgo", awaitFrame + "Call", "user.f", runFrame}, false},
		"a question to the run":        {[]string{"runtime.gopark", "runtime.selectgo", callFrame + "ask", "user.f", runFrame}, true},
		"a sleep":                      {[]string{"runtime.gopark", "time.Sleep", "user.f", runFrame}, true},
		"a channel":                    {[]string{"runtime.gopark", "runtime.chanrecv1", "user.f", runFrame}, false},
		"it computes":                  {[]string{"user.f", runFrame}, true},
		"a goroutine that computes":    {[]string{"user.g"}, true},
		"one that waits":               {[]string{"runtime.gopark", "internal/runtime/x", "user.g"}, false},
		"one in the system":            {[]string{"internal/syscall/unix.Read", "user.g"}, false},
		"one that was stopped at work": {[]string{"runtime.asyncPreempt2", "user.g"}, true},
	} {
		var s stacks
		if !s.read(profileOf(tc.names...)) {
			t.Errorf("%s: it cannot be read", name)
		}
		if works := s.functionsAtWork(); works[7] != tc.works || len(works) > 1 {
			t.Errorf("%s: %v is seen at work", name, works)
		}
	}
}

// A profile that is cut off, or names what it does not have, is survived.
func TestStacksOfAProfileThatIsNone(t *testing.T) {
	whole := profileOf("runtime.gopark", "user.f", runFrame)
	for size := range whole {
		var s stacks
		if s.read(whole[:size]) {
			s.functionsAtWork()
		}
	}
	var s stacks
	if s.read(append(whole[:len(whole):len(whole)], 0xff)) {
		t.Error("it was read")
	}
}
