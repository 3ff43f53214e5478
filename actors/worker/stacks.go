package worker

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// functionsAtWork are the functions that work, by their number; nil if the profile of
// the goroutines cannot be read. Of many that stand at the same place the place is
// judged once: workers have tens of thousands that wait.
func functionsAtWork() map[uint64]bool {
	var compressed bytes.Buffer
	// A buffer takes all.
	_ = pprof.Lookup("goroutine").WriteTo(&compressed, 0)
	unzip, err := gzip.NewReader(&compressed)
	if err != nil {
		return nil
	}
	profile, err := io.ReadAll(unzip)
	if err != nil {
		return nil
	}
	var s stacks
	if !s.read(profile) {
		return nil
	}
	return s.functionsAtWork()
}

// stacks are what a profile of goroutines says: a message profile.proto of pprof. Names
// are indices of strings.
type stacks struct {
	strings []string
	// functions have the index of their name, locations those functions that are at
	// one address, from the innermost one out; both by their number.
	functions map[uint64]uint64
	locations map[uint64][]uint64
	samples   []sample
}

// sample is how many goroutines stand at one place, with the same labels.
type sample struct {
	// place are the numbers of locations, from the innermost one out.
	place []byte
	// labels are pairs of key and value.
	labels [][2]uint64
}

// Numbers of fields in profile.proto.
const (
	profileSample, profileLocation, profileFunction, profileString = 2, 4, 5, 6
	samplePlace, sampleLabel                                       = 1, 3
	labelKey, labelValue                                           = 1, 2
	locationID, locationLine                                       = 1, 4
	lineFunction                                                   = 1
	functionID, functionName                                       = 1, 2
)

// field is one of a message: a number, or bytes.
type field struct {
	is    protowire.Number
	value uint64
	body  []byte
}

// fieldsOf calls each with the fields of a message; false if it is none.
func fieldsOf(message []byte, each func(field)) bool {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return false
		}
		message = message[size:]
		f := field{is: number}
		switch kind {
		case protowire.VarintType:
			f.value, size = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			f.body, size = protowire.ConsumeBytes(message)
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return false
		}
		message = message[size:]
		each(f)
	}
	return true
}

// read takes a profile; false if it is none.
func (s *stacks) read(profile []byte) bool {
	s.functions, s.locations = map[uint64]uint64{}, map[uint64][]uint64{}
	whole := true
	valid := fieldsOf(profile, func(f field) {
		switch f.is {
		case profileSample:
			whole = s.addSample(f.body) && whole
		case profileLocation:
			whole = s.addLocation(f.body) && whole
		case profileFunction:
			whole = s.addFunction(f.body) && whole
		case profileString:
			s.strings = append(s.strings, string(f.body))
		}
	})
	return valid && whole
}

func (s *stacks) addSample(message []byte) bool {
	var one sample
	whole := true
	valid := fieldsOf(message, func(f field) {
		switch {
		case f.is == samplePlace && f.body != nil:
			one.place = append(one.place, f.body...)
		case f.is == samplePlace:
			one.place = protowire.AppendVarint(one.place, f.value)
		case f.is == sampleLabel:
			var label [2]uint64
			whole = fieldsOf(f.body, func(f field) {
				if f.is == labelKey || f.is == labelValue {
					label[f.is-labelKey] = f.value
				}
			}) && whole
			one.labels = append(one.labels, label)
		}
	})
	s.samples = append(s.samples, one)
	return valid && whole
}

func (s *stacks) addLocation(message []byte) bool {
	id, functions, whole := uint64(0), []uint64(nil), true
	valid := fieldsOf(message, func(f field) {
		switch f.is {
		case locationID:
			id = f.value
		case locationLine:
			whole = fieldsOf(f.body, func(f field) {
				if f.is == lineFunction {
					functions = append(functions, f.value)
				}
			}) && whole
		}
	})
	s.locations[id] = functions
	return valid && whole
}

func (s *stacks) addFunction(message []byte) bool {
	id, name := uint64(0), uint64(0)
	valid := fieldsOf(message, func(f field) {
		switch f.is {
		case functionID:
			id = f.value
		case functionName:
			name = f.value
		}
	})
	s.functions[id] = name
	return valid
}

// word is a string; empty for none.
func (s *stacks) word(index uint64) string {
	if index >= uint64(len(s.strings)) {
		return ""
	}
	return s.strings[index]
}

// functionOf is the number of the function that the goroutines are of; 0 for none.
func (s *stacks) functionOf(one sample) (id uint64) {
	for _, label := range one.labels {
		if s.word(label[0]) == attemptLabel {
			id, _ = strconv.ParseUint(s.word(label[1]), 10, 64)
		}
	}
	return id
}

func (s *stacks) functionsAtWork() map[uint64]bool {
	works, places := map[uint64]bool{}, map[string]bool{}
	for _, one := range s.samples {
		id := s.functionOf(one)
		if id == 0 {
			continue
		}
		at, known := places[string(one.place)]
		if !known {
			at = s.goroutineAt(one.place).works()
			places[string(one.place)] = at
		}
		if at {
			works[id] = true
		}
	}
	return works
}

// goroutine is where one stands: the innermost function, and those from the innermost
// one out, but for the runtime's before another one.
type goroutine struct {
	leaf   string
	frames []string
}

func (s *stacks) goroutineAt(place []byte) (g goroutine) {
	for len(place) > 0 {
		location, size := protowire.ConsumeVarint(place)
		if size < 0 {
			return g
		}
		place = place[size:]
		for _, function := range s.locations[location] {
			name := s.word(s.functions[function])
			if g.leaf == "" {
				g.leaf = name
			}
			if len(g.frames) > 0 || !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "internal/runtime/") {
				g.frames = append(g.frames, name)
			}
		}
	}
	return g
}

// has says that the name of a frame begins so.
func (g goroutine) has(prefix string) bool {
	return slices.ContainsFunc(g.frames, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// works says that a goroutine of a function is at work.
func (g goroutine) works() bool {
	if len(g.frames) == 0 || g.has(awaitFrame) {
		return false
	}
	innermost := g.frames[0]
	if g.has(runFrame) {
		// Not parked, or by what will wake it without its goroutines.
		return g.leaf != "runtime.gopark" || innermost == "time.Sleep" || innermost == "internal/poll.runtime_pollWait" || g.has(callFrame)
	}
	// In code of its own: what is in the runtime waits, unless it was just stopped
	// there. So does what is in a call of the system.
	computes := !strings.HasPrefix(g.leaf, "runtime.") || strings.HasPrefix(g.leaf, "runtime.asyncPreempt")
	return computes && !strings.Contains(innermost, "syscall")
}
