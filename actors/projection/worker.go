package projection

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

var workerStates = map[run.WorkerState]string{
	run.WorkerUp:       api.WorkerUp,
	run.WorkerDraining: api.WorkerDraining,
	run.WorkerGone:     api.WorkerGone,
}

// Worker is a worker of a listing.
func Worker(w *roster.WorkerStatus) *api.Worker {
	v := &api.Worker{
		WorkerId: w.WorkerID, Incarnation: w.Incarnation, State: workerStates[w.State], Pool: messages.EffectivePool(w.Info.GetPool()),
		Address: w.Info.GetAddress(), Slots: w.Info.GetSlots(), StickyRunsMax: w.Info.GetStickyRunsMax(), Labels: w.Info.GetLabels(),
		StartedAt: startedAt(w.Info), Host: w.Info.GetHost(), ProcessId: w.Info.GetProcessId(),
		SdkVersion: w.Info.GetSdkVersion(), KeptMax: w.Info.GetKeptMax(),
	}
	for _, d := range w.Info.GetWorkflows() {
		v.Workflows = append(v.Workflows, d.Name)
	}
	switch w.State {
	case run.WorkerGone:
		v.StateReason = w.Reason
	case run.WorkerDraining:
		v.StateReason = messages.Reason_REASON_WORKER_DRAINING
	}
	if w.Load.GetIncarnation() != w.Incarnation || w.State == run.WorkerGone {
		return v
	}
	showLoad(v, w.Load, w.LoadAge)
	return v
}

// startedAt is nil for a process that has not said when it began.
func startedAt(w *messages.WorkerInfo) *timestamppb.Timestamp {
	if w.GetStartedUs() == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMicro(w.GetStartedUs()))
}

// showLoad adds what a worker reported of itself a while ago.
func showLoad(v *api.Worker, l *messages.LoadReport, age time.Duration) {
	v.Reported = true
	v.Running, v.Queued = l.GetRunning(), l.GetQueued()
	v.BoundSoft, v.BoundHard = l.GetBoundSoft(), l.GetBoundRuns()-l.GetBoundSoft()
	v.SharedKeys = int32(len(l.GetHeldKeys()))
	v.Ending = l.GetEnding()
	if v.HeldSlots = l.GetHeldSlots(); v.HeldSlots > 0 {
		v.HeldFor = durationpb.New((time.Duration(l.GetHeldMs())*time.Millisecond + age).Truncate(time.Millisecond))
	}
	v.Kept, v.Suspended, v.SuspendedEarly = l.GetKept(), l.GetSuspended(), l.GetSuspendedEarly()
	if l.GetDraining() && v.State == api.WorkerDraining {
		left := time.Duration(l.GetDrainLeftMs())*time.Millisecond - age
		v.DrainLeft = durationpb.New(max(0, left).Truncate(time.Millisecond))
	}
	for _, u := range l.GetLocals() {
		v.Locals = append(v.Locals, &api.LocalUse{
			Name: u.GetName(), Shared: u.GetShared(), Values: u.GetValues(), InUse: u.GetInUse(), Bytes: u.GetBytes(), Hits: u.GetHits(),
			Builds: u.GetBuilds(), Failures: u.GetFailures(), Releases: u.GetReleases(), Evictions: u.GetEvictions(),
		})
	}
}
