package sdktest_test

import (
	"reflect"
	"testing"

	"go.uber.org/goleak"

	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w, here := whereabouts("w", sdk.Soft)
	e, err := sdktest.New(t.Context(), sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	if err != nil {
		t.Fatal(err)
	}
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	at, err := here.Result(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.KillWorker(at); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before,
		// These end by themselves: after 5 s without work, and after the
		// timeouts of memberlist, 1 s.
		goleak.IgnoreAnyFunction(reflect.TypeFor[pool.Pool]().PkgPath()+".(*Pool).loop"),
		goleak.IgnoreTopFunction("github.com/hashicorp/memberlist.(*Memberlist).UpdateNode"),
		goleak.IgnoreTopFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}
