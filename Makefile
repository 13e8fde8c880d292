# The one menu. CI calls these targets and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
BENCH ?=
STRESS ?= --seconds 600
FUZZ ?= 60
SEED ?=
SIM ?= --seeds 10000

.PHONY: help run run-redis test check bench stress sim fuzz build install ui tools browser redis

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

run: build ## Build, start the server with the embedded log, and show a live run
	@scripts/live-run

run-redis: build redis ## Build, start a Redis and two servers on it, and show a run of one at the other
	@scripts/live-run-redis

test: check browser redis ## Install what tests need, then run every suite
	$(CARGO) nextest run --workspace --no-fail-fast
	for store in directory redis; do \
		RUNCAST_TEST_STORE=$$store $(CARGO) nextest run -p runcast-server --test http --no-fail-fast; \
	done
	npm test
	npm run e2e

check: tools ui ## Format, lint and types, in every language; the documents' promises
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	npm run check
	.venv/bin/ruff check examples scripts
	.venv/bin/ruff format --check examples scripts
	scripts/check-architecture

bench: ui ## Measure the server beside a floor; BENCH="--quick fan-out" passes arguments
	$(CARGO) build --release --locked -p runcast -p runcast-bench
	$(CARGO) run --release --locked -p runcast-bench --bin runcast-bench -- $(BENCH)

stress: ui ## Check the promises for ten minutes under kills and rude readers; STRESS="--seed 7" repeats one
	$(CARGO) build --release --locked -p runcast -p runcast-bench
	$(CARGO) run --release --locked -p runcast-bench --bin runcast-bench -- stress $(STRESS)

sim: ## Live through thousands of seeds of a log whose disk, power and processes fail; SEED=7 repeats one
	$(CARGO) run --quiet --profile sim --locked -p runcast-sim -- $(if $(SEED),--seed $(SEED),$(SIM))

fuzz: ## Try everything that reads bytes with hostile ones, FUZZ=60 seconds each
	FUZZ_SECONDS=$(FUZZ) $(CARGO) nextest run --workspace --no-fail-fast -E 'test(/fuzz::/)'

build: ui ## Build the binary with the web UI in it: target/debug/runcast
	$(CARGO) build --locked -p runcast

install: ui ## Build the release binary and put it into Cargo's bin folder
	$(CARGO) install --locked --path runcast

ui: node_modules/.package-lock.json ## Build the web UI
	npm run build

node_modules/.package-lock.json: package-lock.json package.json
	npm ci --no-audit --no-fund
	@touch $@

tools: .venv/bin/ruff
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked

.venv/bin/ruff: scripts/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --requirement scripts/requirements.txt
	@touch $@

browser:
	@scripts/install-browser

redis:
	@scripts/install-redis
