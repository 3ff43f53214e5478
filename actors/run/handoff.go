package run

// takeHanded folds that a binding follows a hand-off: if the state moved as a
// whole, what builds it has worked under the new epoch too. That is so if all
// local state that the workflow declares can be handed off and the worker left
// nothing out; a value that was never built needs no builder to be run either.
func (s *State) takeHanded() {
	if s.Handed == nil || s.Handed.Failure != nil || len(s.Def.Locals) == 0 {
		return
	}
	for _, l := range s.Def.Locals {
		if !l.Handoff {
			return
		}
	}
	for i := range s.Steps {
		if st := &s.Steps[i]; st.BuiltEpoch >= s.Handed.Epoch {
			st.BuiltEpoch = s.Epoch
		}
	}
}

// dropHanded forgets what was handed off once a step has ended under a later
// epoch: the state is the worker's now.
func (s *State) dropHanded(st *Step) {
	if s.Handed != nil && st.Epoch > s.Handed.Epoch {
		s.Handed = nil
	}
}
