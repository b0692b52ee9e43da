# What can be done here, by name. Nothing here edits a file of the repository.

CARGO ?= cargo

.PHONY: help setup demo test model campaign verify

help: ## Lists the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Installs what is missing: PostgreSQL, a C compiler, iproute2.
	@scripts/setup

demo: setup ## Kills the primary of throw-away clusters on loopback, and shows what happens.
	$(CARGO) run --locked --bin pgfo -- demo

test: ## Runs every test; those with PostgreSQL need `make setup`.
	@CARGO="$(CARGO)" scripts/test

model: ## Model checker: every order of events, over the roles themselves; takes minutes.
	$(CARGO) run --locked --release --example model_campaign

# Another FROM each time plays seeds that were never played: make campaign FROM=500000 FOR=8h
FROM ?= 0
FOR ?= 1h

campaign: ## Simulator: one seed after the other for an hour, on all cores; fails if an invariant breaks.
	$(CARGO) run --locked --release --bin pgfo -- simulate --for $(FOR) --seeds $(FROM)..

verify: ## Runs what the continuous integration runs.
	@.ci/run
