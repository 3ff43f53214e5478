package gateway

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func TestTimesOfTheWallClock(t *testing.T) {
	hourLater := func(at time.Time) time.Time { return at.Add(time.Hour) }
	at := time.Unix(1_900_000_000, 0)
	us := at.UnixMicro()
	answer := &api.WatchRunResponse{At: timestamppb.New(at), Events: []*messages.Event{
		{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "s", StartedUs: us, RetryAtUs: us}}},
		{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: us}}},
		{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{DeadlineUs: us, Branches: []*messages.WaitBranch{{UntilUs: us}, {UntilWallUs: us}}}}},
	}}
	us += time.Hour.Microseconds()
	want := &api.WatchRunResponse{At: timestamppb.New(at.Add(time.Hour)), Events: []*messages.Event{
		{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "s", StartedUs: us, RetryAtUs: us}}},
		{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: us}}},
		{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{DeadlineUs: us, Branches: []*messages.WaitBranch{{UntilUs: us}, {UntilWallUs: at.UnixMicro()}}}}},
	}}
	if mapTimes(answer, hourLater); !proto.Equal(answer, want) {
		t.Errorf("%v, want %v", answer, want)
	}
	if mapTimes(answer, nil); !proto.Equal(answer, want) {
		t.Errorf("without a step of the clock it is %v", answer)
	}
}

// Each number of microseconds in what the API answers is a moment that is mapped, unless
// it is one of the wall clock.
func TestMomentsOfTheAPIAreMapped(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(of protoreflect.MessageDescriptor) {
		if seen[of.FullName()] {
			return
		}
		seen[of.FullName()] = true
		for i := range of.Fields().Len() {
			field := of.Fields().Get(i)
			name := string(field.Name())
			if want := strings.HasSuffix(name, "_us") && !strings.HasSuffix(name, "_wall_us"); microseconds[field.Name()] != want {
				t.Errorf("%s is mapped: %v, want %v", field.FullName(), !want, want)
			}
			if field.Message() != nil {
				walk(field.Message())
			}
		}
	}
	all := api.File_api_api_proto.Messages()
	for i := range all.Len() {
		walk(all.Get(i))
	}
}
