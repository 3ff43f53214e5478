package schedule

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// before are the groups of the first plans.
var before = []Group{Kill, Stop, Partition, PG, Restart, Join}

func config(seed uint64, groups ...Group) Config {
	if len(groups) == 0 {
		groups = Groups
	}
	return Config{
		Seed: seed, Duration: 2 * time.Minute, Groups: groups,
		Servers: []string{"s1", "s2", "s3"}, Workers: []string{"w1", "w2", "w3", "w4", "w5"},
	}
}

func TestTheSameSeedGivesTheSamePlan(t *testing.T) {
	different := false
	for seed := range uint64(50) {
		first := Plan(config(seed))
		if again := Plan(config(seed)); !reflect.DeepEqual(first, again) {
			t.Fatalf("seed %d: %v and %v", seed, first, again)
		}
		different = different || !reflect.DeepEqual(first, Plan(config(seed+1)))
	}
	if !different {
		t.Error("all seeds give one plan")
	}
}

// The plan of a seed is part of a report, by which a run is repeated.
func TestAPlanStays(t *testing.T) {
	var lines []string
	for _, f := range Plan(config(1, before...))[:4] {
		lines = append(lines, fmt.Sprintf("%.1f s: %v", f.At.Seconds(), f))
	}
	want := []string{
		"4.0 s: pg_restart for 0.1 s",
		"6.8 s: worker_kill w4 for 2.3 s",
		"12.9 s: join_server with sx1 for 5.4 s",
		"20.1 s: worker_stop w1 for 6.9 s",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("seed 1 begins with\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	lines = nil
	for _, f := range Plan(config(1, Drain, SameID, Lease))[:6] {
		lines = append(lines, fmt.Sprintf("%.1f s: %v", f.At.Seconds(), f))
	}
	want = []string{
		"4.0 s: worker_cut w1 for 7.3 s",
		"13.4 s: double_live w4 for 4.6 s",
		"14.2 s: workers_restart w1+w3 for 1.7 s",
		"22.5 s: worker_freeze w3 for 10.7 s",
		"28.2 s: worker_drain w1 for 4.7 s",
		"35.7 s: double_drained w3 for 6.6 s",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("seed 1 begins with\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// Where the network cannot be cut, nothing cuts it, and all the rest is there.
func TestAnUncutNetwork(t *testing.T) {
	seen := map[Kind]bool{}
	for seed := range uint64(50) {
		c := config(seed, Kill, Lease)
		c.Uncut = true
		for _, f := range Plan(c) {
			seen[f.Kind] = true
			if traitOf(f.Kind).cuts() {
				t.Errorf("seed %d: %v", seed, f)
			}
		}
	}
	if !seen[WorkerFreeze] || !seen[WorkerKill] {
		t.Errorf("seen %v", seen)
	}
}

func TestPlansKeepTheRules(t *testing.T) {
	for seed := range uint64(500) {
		c := config(seed)
		plan := Plan(c)
		if n := len(plan); n < 10 || n > 28 {
			t.Errorf("seed %d: %d faults in %v", seed, n, c.Duration)
		}
		for i, f := range plan {
			check(t, c, plan, i)
			for _, g := range plan[i+1:] {
				if g.At < f.At {
					t.Errorf("seed %d: %v is after %v", seed, f, g)
				}
				if g.At < f.Until && !compatible(f, g, c.Servers, c.Workers) {
					t.Errorf("seed %d: %v and %v at once", seed, f, g)
				}
			}
		}
	}
}

func check(t *testing.T, c Config, plan []Fault, i int) {
	t.Helper()
	f, kind := plan[i], traitOf(plan[i].Kind)
	known := slices.Concat(c.Servers, c.Workers)
	if f.Number != i+1 || f.At < warmUp || f.Until < f.At || f.Until > c.Duration {
		t.Errorf("seed %d: fault %d is %+v", c.Seed, i, f)
	}
	if needsTarget(kind.on) != (len(f.Targets) > 0) {
		t.Errorf("seed %d: the targets of %+v", c.Seed, f)
	}
	for _, id := range f.Targets {
		if !slices.Contains(known, id) {
			t.Errorf("seed %d: %v: no node %s", c.Seed, f, id)
		}
	}
	if (kind.on == newServer || kind.on == newWorker || f.Kind == WorkerReplace) != (f.Extra != "") || slices.Contains(known, f.Extra) {
		t.Errorf("seed %d: the other node of %+v", c.Seed, f)
	}
	for _, g := range plan[:i] {
		if f.Extra != "" && f.Extra == g.Extra {
			t.Errorf("seed %d: %v and %v start the same node", c.Seed, g, f)
		}
	}
	if (f.Kind == PartitionLoss) != (f.Percent > 0) || f.Percent > lossMax {
		t.Errorf("seed %d: the loss of %+v", c.Seed, f)
	}
}

func TestEachPlanHasAllGroupsAndAllPlansAllKinds(t *testing.T) {
	seen := map[Kind]int{}
	overlaps := 0
	for seed := range uint64(100) {
		groups := map[Group]bool{}
		// So long that each group has several turns.
		c := config(seed)
		c.Duration = time.Duration(len(Groups)) * 15 * time.Second
		plan := Plan(c)
		for i, f := range plan {
			groups[traitOf(f.Kind).group] = true
			seen[f.Kind]++
			if i > 0 && f.At < plan[i-1].Until {
				overlaps++
			}
		}
		if len(groups) != len(Groups) {
			t.Errorf("seed %d has only %v", seed, groups)
		}
	}
	for _, trait := range traits {
		if seen[trait.kind] < 20 {
			t.Errorf("%s occurs %d times in 100 plans", trait.kind, seen[trait.kind])
		}
	}
	if overlaps < 100 {
		t.Errorf("%d faults of 100 plans overlap", overlaps)
	}
}

func TestOnlyAllowedGroups(t *testing.T) {
	for _, g := range Groups {
		for seed := range uint64(20) {
			plan := Plan(config(seed, g))
			least := 8
			if g == Outage {
				least = 4 // each lasts long
			}
			if len(plan) < least {
				t.Errorf("%s, seed %d: %d faults", g, seed, len(plan))
			}
			for _, f := range plan {
				if traitOf(f.Kind).group != g {
					t.Errorf("%s, seed %d: %v", g, seed, f)
				}
			}
		}
	}
	if plan := Plan(Config{Duration: time.Hour, Servers: []string{"s1"}, Workers: []string{"w1"}}); plan != nil {
		t.Errorf("without groups: %v", plan)
	}
}

func TestSmallGroundsAreNotHurtToDeath(t *testing.T) {
	for seed := range uint64(50) {
		c := config(seed)
		c.Servers, c.Workers = []string{"s1"}, []string{"w1"}
		for _, f := range Plan(c) {
			if len(f.Targets) > 0 {
				t.Errorf("seed %d: %v", seed, f)
			}
		}
		c.Servers, c.Workers = []string{"s1", "s2"}, []string{"w1", "w2"}
		for i := range Plan(c) {
			check(t, c, Plan(c), i)
		}
	}
}

func TestALongRunHasFaultsToItsEnd(t *testing.T) {
	c := config(7)
	c.Duration = 20 * time.Minute
	plan := Plan(c)
	if len(plan) < 120 || plan[len(plan)-1].Until < 19*time.Minute {
		t.Errorf("%d faults, the last %v", len(plan), plan[len(plan)-1])
	}
}

func TestParseGroups(t *testing.T) {
	for list, want := range map[string][]Group{
		"": Groups, "kill": {Kill}, "kill, pg,kill": {Kill, PG}, " , ": Groups,
	} {
		if got, err := ParseGroups(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	if _, err := ParseGroups("kill,fire"); err == nil || !strings.Contains(err.Error(), `"fire" is not one of kill,stop`) {
		t.Error(err)
	}
}
