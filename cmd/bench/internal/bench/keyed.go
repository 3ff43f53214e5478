package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// keys that keyed runs draw from, by Zipf's law with this exponent.
	keyedKeys, keyedSkew = 500, 1.1
	// keyedSeed makes the keys the same in every measurement.
	keyedSeed = 4
	// chanceDraws is how often random placement is drawn.
	chanceDraws = 100
	// arrivalEvery is the pause between two calls that start runs.
	arrivalEvery = 100 * time.Millisecond
	// keyedBusy is the share of all slots that the steps take, without builds.
	keyedBusy = 0.5
)

// keyed is a measurement of runs that share values, in progress.
type keyed struct {
	*rig
	keys []int
}

// Keyed measures how many shared values are built for runs with skewed keys,
// with the preference for workers that hold the key and without it: by the
// least load. What random placement would build is drawn for the same keys.
func Keyed(ctx context.Context, config Config) (*KeyedFigures, error) {
	c := config.withDefaults()
	f := &KeyedFigures{
		Workload: c.Workload, Store: c.Store, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots,
		Keys: keyedKeys, Skew: keyedSkew, BuildMs: keyedBuild.Milliseconds(), StepMs: keyedStep.Milliseconds(),
	}
	keys := skewed(max(c.Runs, 0))
	for _, way := range []struct {
		bound float64
		into  *Keying
	}{{0, &f.Held}, {-1, &f.LeastLoad}} {
		config.heldLoadBound = way.bound
		err := on(ctx, config, flushEvery, c.workerNames(), func(r *rig) error {
			k := &keyed{rig: r, keys: keys}
			f.Limits = r.limits
			return k.measure(ctx, way.into)
		})
		if err != nil {
			return nil, err
		}
		config.Limits = false // once is enough
	}
	f.BuildsLeast = len(slices.Compact(slices.Sorted(slices.Values(keys))))
	f.BuildsRandom = buildsByChance(keys, c.Workers)
	f.SavedRatio = round(1-float64(f.Held.Builds)/f.BuildsRandom, 3)
	return f, nil
}

// skewed draws the keys of runs.
func skewed(runs int) []int {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(keyedSeed, keyedSeed)), keyedSkew, 1, keyedKeys-1)
	keys := make([]int, runs)
	for i := range keys {
		keys[i] = int(zipf.Uint64())
	}
	return keys
}

// buildsByChance is how many values workers build on average that get runs by
// chance and keep what they have built.
func buildsByChance(keys []int, workers int) float64 {
	random := rand.New(rand.NewPCG(keyedSeed, 0))
	builds := 0
	for range chanceDraws {
		held := map[[2]int]bool{}
		for _, key := range keys {
			held[[2]int{random.IntN(workers), key}] = true
		}
		builds += len(held)
	}
	return round(float64(builds)/chanceDraws, 1)
}

// measure starts the runs little by little and evaluates them.
func (k *keyed) measure(ctx context.Context, into *Keying) error {
	w := keyedWorkflow(nil)
	perCall := max(int(keyedBusy*float64(k.config.Workers*k.config.Slots)*float64(arrivalEvery)/float64(keyedStep)), 1)
	begin := time.Now()
	var ids []string
	for from := 0; from < len(k.keys); from += perCall {
		to := min(from+perCall, len(k.keys))
		var inputs []Input
		for i := from; i < to; i++ {
			inputs = append(inputs, Input{Number: i, Key: k.keys[i]})
		}
		started, err := startAll(ctx, k.rig, w, inputs)
		if err != nil {
			return err
		}
		ids = append(ids, started...)
		k.progress.show("%.0f s: %d of %d runs started", time.Since(begin).Seconds(), to, len(k.keys))
		if err := backoff.Sleep(ctx, time.Until(begin.Add(time.Duration(to/perCall)*arrivalEvery))); err != nil {
			return err
		}
	}
	if err := k.awaitAll(ctx, ids[len(ids)-1]); err != nil {
		return err
	}
	return k.evaluate(ctx, w.Name(), begin, into)
}

func (k *keyed) evaluate(ctx context.Context, workflow string, begin time.Time, into *Keying) error {
	var latencies []time.Duration
	err := k.list(ctx, workflow, begin, func(r *api.Run) {
		if r.GetStatus() != sdk.Succeeded {
			into.RunsFailed++
		}
		latencies = append(latencies, r.GetFinishedAt().AsTime().Sub(r.GetCreatedAt().AsTime()))
	})
	if err != nil {
		return err
	}
	book, err := k.book(ctx)
	if err != nil {
		return err
	}
	into.Builds = len(book.Values)
	perWorker := map[string]int{}
	for _, x := range book.Executions {
		perWorker[x.Worker]++
	}
	into.StepsRunAgain = again(book.Executions)
	most := 0
	for _, n := range perWorker {
		most = max(most, n)
	}
	into.LoadMaxByMean = round(float64(most)*float64(k.config.Workers)/float64(max(len(latencies), 1)), 3)
	slices.Sort(latencies)
	into.P50Ms, into.P99Ms = percentile(latencies, 50), percentile(latencies, 99)
	into.ProcessesDied = int(k.died.Load())
	return nil
}

// KeyedFigures are the result of Keyed.
type KeyedFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`
	// Keys there are, drawn by Zipf's law with the exponent Skew.
	Keys    int     `json:"keys"`
	Skew    float64 `json:"skew"`
	BuildMs int64   `json:"build_ms"`
	StepMs  int64   `json:"step_ms"`
	// Held is measured with placement by held keys, LeastLoad without it.
	Held      Keying `json:"held"`
	LeastLoad Keying `json:"least_load"`
	// BuildsLeast is one for each key that a run has.
	BuildsLeast int `json:"builds_least"`
	// BuildsRandom are those of random placement of the same runs, drawn;
	// SavedRatio is the share of them that Held saves.
	BuildsRandom float64 `json:"builds_random"`
	SavedRatio   float64 `json:"saved_ratio"`

	*Limits
}

// Keying is what one way to place keyed runs led to.
type Keying struct {
	Builds int `json:"builds"`
	// LoadMaxByMean is the runs of the worker with most of them by the mean.
	LoadMaxByMean float64 `json:"runs_per_worker_max_by_mean"`
	// From created to finished.
	P50Ms         float64 `json:"p50_ms"`
	P99Ms         float64 `json:"p99_ms"`
	RunsFailed    int     `json:"runs_failed"`
	StepsRunAgain int     `json:"steps_run_again"`
	ProcessesDied int     `json:"processes_died"`
}

// Table shows the figures to eyes.
func (f *KeyedFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d SOFT runs share values of %d keys (Zipf, %.1f) on %d workers x %d slots, on %s, %d servers",
		f.Runs, f.Keys, f.Skew, f.Workers, f.Slots, f.Store, f.Servers)
	way := func(name string, k Keying) {
		row(name, "%d builds   runs of the fullest worker by the mean %.2f   p50 %.0f ms   p99 %.0f ms   runs failed %d   steps run again %d",
			k.Builds, k.LoadMaxByMean, k.P50Ms, k.P99Ms, k.RunsFailed, k.StepsRunAgain)
	}
	way("by held keys", f.Held)
	way("by least load", f.LeastLoad)
	row("by chance", "%.0f builds: held keys save %.1f %% of them; %d at least", f.BuildsRandom, 100*f.SavedRatio, f.BuildsLeast)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
