package projection

import (
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Row is the row of a run, which is stored with each of its entries.
func Row(s *run.State, shard int) *journal.Row {
	row := &journal.Row{
		RunID: s.RunID, Shard: shard, Workflow: s.Start.Workflow, DefinitionHash: s.Start.DefinitionHash,
		Pool: s.Def.EffectivePool(), Sticky: s.Def.Sticky, Status: s.Status,
		Priority:  messages.EffectivePriority(s.Start.Priority, s.Def.Priority),
		ParentRun: s.Start.ParentRun, Trigger: s.Start.Trigger,
		BoundWorker: s.BoundWorker(), Epoch: s.Epoch, CreatedAt: s.CreatedAt, FinishedAt: s.FinishedAt,
	}
	if d := s.Dormant; d != nil {
		row.Dormant, row.WakeOnUp, row.WakeOnGone, row.Line = true, d.WakeOnUp, d.WakeOnGone, d.Line
		if d.Line != 0 {
			row.LineSince = time.UnixMicro(d.LineSinceUs)
		}
		if d.WakeAtUs != 0 {
			row.WakeAt = time.UnixMicro(d.WakeAtUs)
		}
	}
	if s.Ended() {
		row.LastWorker = s.Binding.Worker.GetWorkerId()
	}
	if s.Failure != nil {
		row.FailureCode, row.FailureMessage = s.Failure.Code, s.Failure.Message
	}
	return row
}
