# Everything that people and CI do here, one word each. "make help" lists it.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/anchorage
export CARGO_TARGET_DIR ?= $(CACHE)/target

LAB := e2e/lab/lab
NODES ?= 1
SCALE ?= full
ROWS ?= 1,2,3,4,5,8
MINUTES ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast campaign chaos dev bench lint fmt crds images tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: ## Kind cluster, helm install, a file pinned through the Ingress, a node drained: all of it shown
	@e2e/run demo

test: ## Everything that CI checks, the end-to-end tests on kind included
	@e2e/run test

test-fast: ## Unit and scenario tests only
	@e2e/run test-fast

campaign: ## Random tests at full size: SEEDS, a full model, CUTS requests, HISTORIES, TORTURE of pools; SEED repeats one
	SEEDS=$(or $(SEEDS),100000) STATES=full \
		cargo test --release --locked -p pinner-core --test simulation --test model -- --nocapture
	CUTS=$(or $(CUTS),100000) HISTORIES=$(or $(HISTORIES),100) TORTURE=$(or $(TORTURE),1000000) \
		cargo test --locked -p anchorage --test it -- --nocapture --test-threads 1 hangups:: histories:: torture::

chaos: tools ## Faults by SEED for MINUTES under load, then a judgement over what clients were told and what is there
	cargo build --locked -p anchorage -p e2e
	$(CARGO_TARGET_DIR)/debug/e2e chaos $(if $(SEED),--seed $(SEED)) --seconds $$(( $(MINUTES) * 60 ))

dev: tools ## The whole service on this machine, without Kubernetes; NODES=3 for a fleet
	cargo run --locked -p anchorage -- dev --nodes $(NODES)

bench: tools ## Ratios to what the parts can do at best; SCALE=small for three minutes, ROWS=1,3 for some rows, BENCH=profile
	cargo build --release --locked -p anchorage -p e2e
	$(CARGO_TARGET_DIR)/release/e2e $(if $(filter profile,$(BENCH)),profile,bench --scale $(SCALE) --rows $(ROWS))

lint: ## Clippy, formatting, dependencies and licences, shell scripts
	@e2e/run lint

fmt: ## Format the Rust code
	cargo fmt --all

crds: ## Write crds/ from the Rust types
	cargo run --locked -q -p anchorage-operator -- crds --write crds

images: ## Build the release images anchorage/anchorage and anchorage/anchorage-operator
	$(LAB) deps
	e2e/images/build

tools: ## Kubo, nats-server, Postgres, etcd and kube-apiserver, into the user's cache
	$(LAB) tools

clean: ## Delete the kind cluster and what cargo built; what was downloaded and made for the lab stays in the cache
	$(LAB) down
	cargo clean
	@echo 'The rest is in $(CACHE).'
