package load

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
)

// deliberate is the failure of user code whose input asks for it, and how the
// code leaves: by a returned error, as all code should, or by another door.
type deliberate struct {
	words string
	door  verdict.Door
}

func (d *deliberate) Error() string { return d.words }

// onPurpose makes a failure of the n-th call of a run's code; because says more.
func (p Plan) onPurpose(n int, because string, args ...any) *deliberate {
	door := verdict.Doors[(p.Number+uint64(n))%uint64(len(verdict.Doors))]
	return &deliberate{verdict.OnPurpose + ": " + fmt.Sprintf(because, args...) + string(door), door}
}

// leave leaves by the door of a deliberate failure; any other error it returns.
func leave(err error) error {
	var d *deliberate
	if !errors.As(err, &d) {
		return err
	}
	switch d.door {
	case verdict.ByPanic:
		panic(d.words)
	case verdict.ByGoexit:
		runtime.Goexit()
	case verdict.ByMethod:
		return unreadable{}
	}
	return err
}

// unreadable is an error that cannot say what it is.
type unreadable struct{}

func (unreadable) Error() string { panic("an error that says nothing") }
