# What can be done here, by name. Nothing here edits a file of the repository.

CARGO ?= cargo

.PHONY: help setup demo test model verify

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

verify: ## Runs what the continuous integration runs.
	@.ci/run
