GO ?= go
# A count: with a duration, the go command can fail a target whose time is up in
# mid-run ("context deadline exceeded").
FUZZTIME ?= 100000x

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: test
test: ## the tests, as the README has them
	$(GO) test ./...

.PHONY: race
race: ## the tests under the race detector, with fewer rounds of the models
	$(GO) test -race -short ./...

.PHONY: lint
lint: ## vet, staticcheck, gofmt
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }

STATICCHECK ?= v0.8.2

SIMTIME ?= 2m
SEED ?= 0

.PHONY: sim
sim: ## the simulator: fresh seeds for SIMTIME, or one SEED
	@$(GO) run ./internal/sim -for $(SIMTIME) -seed $(SEED)

SIMCOVER ?= /tmp/simcover

.PHONY: simcover
simcover: ## what the simulator covers of the library in SIMTIME; the profile stays in SIMCOVER
	@rm -rf $(SIMCOVER) && mkdir -p $(SIMCOVER)/data
	@$(GO) build -cover -coverpkg=$$($(GO) list ./log ./workqueue/... ./visibility ./idempotency ./internal/... | paste -sd,) -o $(SIMCOVER)/sim ./internal/sim
	@GOCOVERDIR=$(SIMCOVER)/data $(SIMCOVER)/sim -for $(SIMTIME) -seed $(SEED)
	@$(GO) tool covdata textfmt -i=$(SIMCOVER)/data -o $(SIMCOVER)/profile
	@grep -E '$(SIMCOVERED)|^mode' $(SIMCOVER)/profile > $(SIMCOVER)/library
	@$(GO) tool covdata percent -i=$(SIMCOVER)/data | grep -E '$(SIMCOVERED)'
	@$(GO) tool cover -func=$(SIMCOVER)/library | tail -1

# The packages that count.
SIMCOVERED = pebblemq/(log|workqueue|visibility|idempotency|internal/(store|queue|payload|worker|object|codec))[/[:space:]]

MUTANTS ?= 4

.PHONY: mutants
mutants: ## the simulator against MUTANTS of the bugs put in on purpose, others each day; all takes hours
	@$(GO) test ./internal/sim -run TestMutants -count=1 -timeout 3h -mutants $(MUTANTS) -mutant-budget 3m

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME inputs each
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

TEAR ?= 5s

.PHONY: torn
torn: ## readers beside large batches for TEAR, on an engine that is slow to publish them
	@internal/store/testdata/torn.sh $(TEAR)

.PHONY: bench
bench: ## the benchmarks beside the code
	$(GO) test -run '^$$' -bench . ./...

.PHONY: quickstart
quickstart: ## the main example
	$(GO) run ./examples/quickstart
