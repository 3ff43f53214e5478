# Limpet. `make` alone lists the targets. All that a target needs beyond Go is
# built by it, from versions pinned in go.mod and .tools/go.mod.

GO    ?= go
TOOL  := $(GO) tool -modfile=.tools/go.mod
SEED  ?= 1
SEEDS ?= 10000
BASE  ?= main
BENCH ?= --workload chain3 --sticky soft --store sqlite --runs 2000 --workers 2 --slots 100
# Without what debuggers read, which linking takes a third of its time for, and without vet,
# which `make lint` runs.
TESTFLAGS ?= -timeout 12m -vet=off -ldflags=-w
DURATION ?= 2m
# Groups of faults between commas; none is all that are possible here.
FAULTS ?=
FUZZTIME ?= 20s

# The race detector needs a C compiler; without one the tests run, and say so.
RACE := $(shell command -v $$($(GO) env CC) >/dev/null 2>&1 && [ "$$($(GO) env CGO_ENABLED)" = 1 ] && echo -race)

.DEFAULT_GOAL := help
.PHONY: help build demo dev test sim sims fuzz mutate chaos bench bench-compare lint screenshots generate journals fresh verify move-module

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the limpet command into .bin/limpet
	$(GO) build -o .bin/limpet ./cmd/limpet

demo: ## The main job on real input: a server, three workers, one killed on the way; make demo DEMOFLAGS=--keep leaves it up
	$(GO) run ./cmd/demo $(DEMOFLAGS)

dev: ## A server with a throw-away store, on loopback
	$(GO) run ./cmd/limpet dev

test: ## All tests, with the race detector (PostgreSQL and Chromium are installed if need be); without it thousands of simulated clusters, and what requests cost
	@if [ -z "$(RACE)" ]; then echo "make test: no C compiler here, so the tests run WITHOUT the race detector" >&2; fi
	@.tools/postgres
	@.tools/chromium
	$(GO) test $(RACE) $(TESTFLAGS) ./...
	$(GO) test $(TESTFLAGS) ./actors/sim ./actors/gateway -run '^(TestSim|TestRequestsCostNoMoreThanTheirBytes)$$' -count=1 -v

sims: ## Simulate many clusters: make sims SEEDS=20000
	$(GO) test -timeout 60m ./actors/sim -run '^TestSim$$' -count=1 -v -seeds=$(SEEDS)

fuzz: ## Feed arbitrary bytes to every decoder, each for a while: make fuzz FUZZTIME=1h
	@for found in $$(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z]*' . | sed 's/:func /:/'); do \
		$(GO) test "$$(dirname "$${found%:*}")" -run '^$$' -fuzz "^$${found##*:}$$" -fuzztime $(FUZZTIME) || exit 1; \
	done

mutate: ## Break rules of the cores in a copy, one by one: the simulation must notice each
	$(GO) run ./cmd/mutate

sim: ## Replay one simulated cluster: make sim SEED=42
	SEED=$(SEED) $(GO) test ./actors/sim -run '^TestSeed$$' -count=1 -v

chaos: ## Break a cluster and check every promise: make chaos SEED=7 DURATION=2m FAULTS=kill,partition
	@.tools/postgres
	$(GO) build -o .bin/chaos ./cmd/chaos
	GO=$(GO) .bin/chaos --seed $(SEED) --duration $(DURATION) --faults "$(FAULTS)" $(CHAOSFLAGS)

bench: ## Measure: make bench BENCH="--workload fan --sticky hard"
	$(GO) run ./cmd/bench $(BENCH)

bench-compare: ## Compare with another revision, in turns: make bench-compare BASE=main~20 BENCH="--store postgres --rounds 5"
	rm -rf .bin/base .bin/base.tar && mkdir -p .bin/base
	git archive --output .bin/base.tar $(BASE) && tar -xf .bin/base.tar -C .bin/base
	cd .bin/base && $(GO) build -o ../bench-base ./cmd/bench
	rm -rf .bin/base .bin/base.tar
	$(GO) build -o .bin/bench ./cmd/bench
	.bin/bench --against .bin/bench-base --limits=false $(BENCH)

# A function that branches more often says why, and has //gocyclo:ignore.
lint: ## gofmt, go vet, staticcheck, gocyclo and the house rules
	@bad=$$(find . -name '*.go' -not -path './.git/*' -exec $$($(GO) env GOROOT)/bin/gofmt -l {} +); \
	if [ -n "$$bad" ]; then echo "not formatted with gofmt:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) gocyclo -over 15 -ignore '_test\.go|\.pb\.go|\.connect\.go' .
	$(GO) run ./cmd/tidy

screenshots: ## Pictures of the dashboard, in both themes and two sizes, into .bin/screenshots
	@.tools/chromium
	@mkdir -p .bin/screenshots
	$(GO) test ./cmd/internal/browser -run '^TestInABrowser$$' -count=1 -args -screenshots "$(CURDIR)/.bin/screenshots"

generate: ## Generate Go from the .proto files
	GO=$(GO) .tools/generate

journals: ## Write journals of this version for later ones to open: make journals NAME=2
	@.tools/postgres
	$(GO) test ./actors/node -run '^TestWriteJournals$$' -count=1 -v -write "$(NAME)"

fresh: ## Check that the generated code is what `make generate` makes
	GO=$(GO) .tools/fresh

verify: lint fresh ## All checks but the tests: lint, generated code, go.mod
	$(GO) mod tidy -diff
	cd .tools && $(GO) mod tidy -diff

move-module: ## Give the module another path: make move-module TO=example.com/limpet
	GO=$(GO) .tools/move-module "$(TO)"
	$(MAKE) generate
