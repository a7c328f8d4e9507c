# Every command sets up what it needs. `make help` lists them.
SHELL := /bin/sh
BIN := .venv/bin
PYTEST := $(BIN)/pytest -q
JOBS ?= 2
TIER ?= identity

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: ## the whole journey on this machine: authority, host, login, revocation
	@tools/setup.sh sshd
	@$(BIN)/python -m demo

.PHONY: serve
serve: ## an embedded server for development, on SQLite; PORT=8322 is its port
	@tools/setup.sh
	@$(BIN)/python -m demo.serve

.PHONY: check
check: ## format, lint, types, import contracts, docs and the fast tests
	@tools/setup.sh sshd shellcheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vermin --quiet --no-tips -t=3.9- --violations src/tatu/agent
	shellcheck tools/setup.sh .ci/run tests/fakes/original/*.sh devstack/plugin.sh devstack/settings tests/openstack/devstack.sh tests/lab/hosts/*.sh contrib/debian/*
	$(BIN)/python -m tools.threat_model docs/threat-model.md
	$(PYTEST) -n $(JOBS) -m "not slow and not soak and not openstack and not hosts"

.PHONY: test
test: ## all that CI runs
	@tools/setup.sh sshd databases shellcheck openstack hosts
	$(MAKE) --no-print-directory check
	$(PYTEST) -n $(JOBS) --dist worksteal -m "slow and not matrix and not soak and not openstack and not hosts"
	$(MAKE) --no-print-directory --keep-going --jobs=$(JOBS) --output-sync=target test-openstack test-hosts

.PHONY: test-openstack test-hosts
# both wait for others: `make test` has them at the same time; each process of the second has a network of its own
test-openstack:
	$(PYTEST) -n 0 -m "openstack and not matrix and not soak"

test-hosts:
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not matrix and not soak" tests/hosts

.PHONY: e2e
e2e: ## the heavier places: each version of OpenSSH, a virtual machine, outages and DNS in OpenStack, more of what is slow
	@tools/setup.sh sshd databases hosts qemu openstack dns
	for image in bookworm trixie backports; do $(PYTEST) -n $(JOBS) --dist loadfile -m "not matrix and not soak" --image $$image tests/hosts || exit 1; done
	$(PYTEST) -n 0 -m matrix tests/hosts
	$(PYTEST) -n 0 -m "openstack and matrix"
	$(PYTEST) -n $(JOBS) --dist worksteal -m "slow and matrix and not openstack and not hosts"

.PHONY: lab
lab: ## a real OpenStack on this machine until Ctrl-C; TIER=identity, dns, compute or all
	@tools/setup.sh openstack $(if $(filter dns all,$(TIER)),dns)
	$(BIN)/python -m tests.lab up --tier $(TIER)

.PHONY: soak
soak: ## long runs: a thousand kills
	@tools/setup.sh sshd databases
	$(PYTEST) -m soak

.PHONY: bench
bench: ## the measurements of docs/performance.md
	@tools/setup.sh sshd databases openstack hosts
	$(BIN)/python -m bench

.PHONY: agent
agent: ## the host agent as one file, build/tatu-agent
	@mkdir -p build
	@PYTHONPATH=src python3 -m tatu.agentfile build/tatu-agent $(RELEASE_KEYS)

.PHONY: deb
deb: ## the host agent as a package, build/tatu-agent_VERSION_all.deb
	@mkdir -p build
	@PYTHONPATH=src python3 -m tools.deb build $(RELEASE_KEYS)

.PHONY: lock
lock: ## resolve the dependencies anew
	@tools/setup.sh
	.cache/uv/bin/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --universal \
	    --no-emit-index-url --no-header --python-version 3.11 --quiet --upgrade --output-file requirements.lock

.PHONY: clean
clean: ## remove what the commands made
	rm -rf .venv .cache build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
