//go:build !unix

package procs

import "github.com/limpetrun/limpet/messages"

// Pause is not possible on this system: INVALID_ARGUMENT.
func (p *Process) Pause() error {
	return messages.Errorf(messages.CodeInvalidArgument, "this system cannot freeze process %s", p.Name)
}

// Resume is not possible on this system: INVALID_ARGUMENT.
func (p *Process) Resume() error {
	return messages.Errorf(messages.CodeInvalidArgument, "this system cannot resume process %s", p.Name)
}
