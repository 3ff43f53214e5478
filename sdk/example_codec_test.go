package sdk_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/codec"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// Payloads that the cluster cannot read: workers and clients have the keys, and nobody
// else. In a program the keys come from where secrets are kept, sdk.ClientConfig has the
// codec and so has worker.Config; `limpet --codec PROGRAM` shows what they hold.
func Example_codec() {
	key, same := make([]byte, 32), make([]byte, 16)
	_, _ = rand.Read(key)
	_, _ = rand.Read(same)
	secret, err := codec.AESGCM(same, codec.Key{ID: "2026-12", Secret: key})
	check(err)

	greet := sdk.NewWorkflow[string]("greet")
	sdk.AddStep(greet, "hello", func(_ sdk.Context, name string) (string, error) { return "hello " + name, nil })

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Codec: secret}, greet)
	check(err)
	defer closeEngine(e)
	run, err := greet.Start(ctx, e.Client(), "ada")
	check(err)
	var said string
	check(run.Result(ctx, &said))
	fmt.Println(said)

	stranger, err := sdk.NewClient(sdk.ClientConfig{Address: e.Address()})
	check(err)
	seen, err := stranger.Run(run.ID()).Get(ctx)
	check(err)
	fmt.Println(strings.Contains(seen.String(), "ada"))
	// Output:
	// hello ada
	// false
}
