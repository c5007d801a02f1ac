# Every habit of this project. `make help` lists them; each does its own set-up first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
NAME ?= dev
PYTHON := .venv/bin/python
PACKAGES := -p modelrelease_operator -p modelrelease_serving -p modelrelease_training -p modelrelease_contract -p cluster -p examples -p benchmarks -p dashboards -p testbed -p tests

.PHONY: help
help: ## list what can be done
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/ready ## make the Python environment (.venv) from the lock file

.venv/ready: locks/dev.txt pyproject.toml tools/setup .venv/bin/uv
	@tools/setup

.PHONY: setup-text
setup-text: .venv-text/ready ## make the environment of the text tests (.venv-text: torch, 5 GB)

.venv-text/ready: locks/text.txt pyproject.toml tools/setup .venv-text/bin/uv
	@tools/setup .venv-text text

.PHONY: setup-flow
setup-flow: .venv-flow/ready ## make the environment of the retrain flow's tests (.venv-flow: Prefect)

.venv-flow/ready: locks/flow.txt pyproject.toml tools/setup .venv-flow/bin/uv
	@tools/setup .venv-flow flow

.PHONY: setup-feast
setup-feast: .venv-feast/ready ## make the environment of the feature store's example (.venv-feast: Feast)

.venv-feast/ready: locks/feast.txt pyproject.toml tools/setup .venv-feast/bin/uv
	@tools/setup .venv-feast feast

.PHONY: setup-scan
setup-scan: .venv-scan/ready ## make the environment of the scanners (.venv-scan: checkov, bandit, pip-audit, zizmor)

.venv-scan/ready: locks/scan.txt pyproject.toml tools/setup .venv-scan/bin/uv
	@tools/setup .venv-scan scan

.PHONY: setup-browser
setup-browser: .venv-browser/ready ## make the environment of the page's tests (.venv-browser), and install a Chromium where there is none
	@tools/chromium > /dev/null

.venv-browser/ready: locks/browser.txt pyproject.toml tools/setup .venv-browser/bin/uv
	@tools/setup .venv-browser browser

.PHONY: setup-docs
setup-docs: .venv-docs/ready ## make the environment that builds the documentation (.venv-docs: Sphinx)

.venv-docs/ready: locks/docs.txt pyproject.toml tools/setup .venv-docs/bin/uv
	@tools/setup .venv-docs docs

.venv/bin/uv .venv-text/bin/uv .venv-flow/bin/uv .venv-feast/bin/uv .venv-scan/bin/uv .venv-browser/bin/uv .venv-docs/bin/uv: locks/uv.txt tools/venv
	@tools/venv $(@:/bin/uv=)

# Needs Python's standard library alone, so that it compiles while `setup` and its like fetch packages.
.PHONY: prepare
prepare: .venv/bin/uv ## compile, fetch and build what a cluster is made of, and start none
	@$(PYTHON) -m cluster prepare --name $(NAME) $(PREPARE)

.PHONY: demo
demo: ## see it work: a real cluster, real traffic, a good version promoted, bad ones rolled back
	@$(MAKE) --no-print-directory -j2 $(if $(ARGS),setup,prepare setup) NAME=demo PREPARE=--no-prometheus
	@$(PYTHON) -m examples.demo $(ARGS)

.PHONY: demo-loop
demo-loop: setup ## see the loop close: drift, a retraining in a Job, the registry's alias, a canary, no drift
	@$(PYTHON) -m examples.loop $(ARGS)

# First everything that is fetched or compiled, side by side; then one kind of tests after another.
.PHONY: test
test: ## check everything: style, types, layers, unit, property, contract, text, flow, Feast and cluster tests
	@echo "== Unless it was done before: fetching packages (5 GB for the text tests alone) and compiling a Kubernetes."
	@echo "== Then lint, the fast tests beside those of text, flow and Feast, and those on a cluster."
	@$(MAKE) --no-print-directory -j2 prepare setup setup-text setup-flow setup-feast NAME=tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 test-apart test-fast
	@$(MAKE) --no-print-directory test-cluster

# One after the other: they have servers and models to load, and wait more than they work.
.PHONY: test-apart
test-apart:
	@$(MAKE) --no-print-directory test-text test-flow test-feast

.PHONY: test-text
test-text: setup-text ## the tests with a real sentence encoder, in an environment of their own
	.venv-text/bin/python -m pytest tests/text

.PHONY: test-flow
test-flow: setup-flow ## the tests of the retrain flow on real Prefect and MLflow servers, in an environment of their own
	.venv-flow/bin/python -m pytest tests/flow

.PHONY: test-feast
test-feast: setup-feast ## the tests of the example with a feature store, on Feast, in an environment of their own
	.venv-feast/bin/python -m pytest tests/feast

.PHONY: test-browser
test-browser: setup-browser ## the tests of the page in a real Chromium, in an environment of their own; no part of `make test`
	.venv-browser/bin/python -m pytest tests/browser

.PHONY: test-newcomer
test-newcomer: setup ## follow README and tutorial in a clean clone with nothing lent (twenty minutes; no part of `make test`)
	$(PYTHON) -m pytest tests/newcomer

.PHONY: docs
docs: setup-docs ## build the documentation as a site into build/site; a link that leads nowhere fails (ARGS="--releases --base /docs/")
	@.venv-docs/bin/python docs/site/build.py $(ARGS)

.PHONY: docs-serve
docs-serve: docs ## build the documentation, and show it at http://localhost:8000
	@.venv-docs/bin/python -m http.server 8000 --bind 127.0.0.1 --directory build/site

.PHONY: pictures
pictures: setup-browser ## take the documents' pictures of the page anew
	@.venv-browser/bin/python -m tests.browser.pictures

.PHONY: dashboards
dashboards: setup ## make the chart's Grafana dashboards and recording rules anew, from dashboards/
	@$(PYTHON) -m dashboards

.PHONY: test-fast
test-fast: setup ## the tests that need no cluster
	$(PYTHON) -m pytest -m "not cluster" -n auto --dist worksteal $(ARGS)

.PHONY: fuzz
fuzz: setup ## search for what breaks a property: other examples at every run, ten times as many
	HYPOTHESIS_PROFILE=search $(PYTHON) -m pytest -m "hypothesis and not cluster" -n auto --dist worksteal $(ARGS)

.PHONY: test-cluster
test-cluster: setup ## the tests on a real cluster; KEEP_CLUSTER=1 leaves it up for the next run
	@tools/test-cluster $(ARGS)

.PHONY: lint
lint: setup ## check style, types and the layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(PACKAGES)
	.venv/bin/mypy docs/site/build.py docs/site/conf.py train.py drift_detector.py flow_retrain.py scripts/ingest.py scripts/generate_baseline.py
	.venv/bin/lint-imports

.PHONY: scan
scan: setup setup-scan ## look for known weaknesses: manifests, Python, locks, workflows (SCAN_WITHOUT_PYPI=1: no pip-audit)
	@tools/scan

.PHONY: sbom
sbom: setup-scan ## write what each image has of Python packages into build/sbom, as CycloneDX
	@mkdir -p build/sbom
	@for lock in operator serving boosters training drift; do \
	  .venv-scan/bin/cyclonedx-py requirements "locks/$$lock.txt" --output-reproducible --outfile "build/sbom/$$lock.cdx.json" || exit 1; \
	done

.PHONY: smoke
smoke: setup ## train in ten steps, and ask the model, as a newcomer types it; what it writes is in build/smoke
	@tools/smoke

.PHONY: images
images: ## build every image and start each once (Docker; PARTS="operator serving training drift")
	@tools/images $(PARTS)

.PHONY: format
format: setup ## put the code into its one format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: bench
bench: setup ## measure: what one decision costs
	$(PYTHON) -m benchmarks.decide

.PHONY: bench-cluster
bench-cluster: setup ## measure: many releases at once on a real cluster (a quarter of an hour)
	@$(PYTHON) -m benchmarks.cluster $(ARGS)

.PHONY: bench-rollouts
bench-rollouts: setup ## measure: whole releases beside Argo Rollouts and Flagger on a real cluster (forty minutes at most)
	@$(PYTHON) -m benchmarks.rollouts $(ARGS)

.PHONY: bench-serving
bench-serving: setup ## measure: the predictor beside other servers of scikit-learn models (about half an hour)
	@$(PYTHON) -m benchmarks.serving $(ARGS)

.PHONY: bench-soak
bench-soak: setup ## measure: the predictor under minutes of load, and under ten times too much
	@$(PYTHON) -m benchmarks.serving.soak $(ARGS)

.PHONY: bench-faults
bench-faults: setup ## measure: whole releases under faults, each from a number (ARGS="--seeds 10000")
	@$(PYTHON) -m benchmarks.faults $(ARGS)

.PHONY: chaos
chaos: setup ## break one thing after another on a real cluster while users call (forty minutes; ARGS="--only etcd")
	@$(PYTHON) -m benchmarks.chaos $(ARGS)

.PHONY: lock
lock: setup ## lock the dependencies anew (needs uv)
	locks/update

.PHONY: check-platforms
check-platforms: setup ## say whether what the images lock has wheels for amd64 and arm64
	@tools/check-platforms

.PHONY: cluster-up
cluster-up: setup ## bring up a cluster with the operator (NAME=dev UP=--no-prometheus)
	@$(PYTHON) -m cluster up --name $(NAME) $(UP)
	@$(PYTHON) -m cluster operator --name $(NAME)
	@$(PYTHON) -m cluster status --name $(NAME)

.PHONY: cluster-down
cluster-down: setup ## remove a cluster and all that came with it (NAME=dev; demo and tests are others)
	@$(PYTHON) -m cluster down --name $(NAME)

.PHONY: cluster-env
cluster-env: ## print what a shell sets to work with a cluster that is up: eval "$(make -s cluster-env NAME=dev)"
	@$(PYTHON) -m cluster env --name $(NAME)

.PHONY: cluster-status
cluster-status: setup ## show what runs of a cluster (NAME=dev)
	@$(PYTHON) -m cluster status --name $(NAME)

.PHONY: check-gitops
check-gitops: setup ## ask the libraries of Helm, Flux and Argo CD what they take each state of a release for (needs Go)
	@$(PYTHON) -m testbed.gitops

.PHONY: cluster-logs
cluster-logs: ## keep what a cluster said in build/cluster-logs (NAME=dev)
	@tools/cluster-logs $(NAME)

# Helm is the one that the cluster tests take.
.PHONY: chart install-yaml
chart: setup ## package the chart into build/chart, and push it where IMAGES=registry/folder says
	@HELM="$$($(PYTHON) -c 'from cluster import toolchain; print(toolchain.helm())')" && export HELM && \
	  tools/chart package && if [ -n "$$IMAGES" ]; then tools/chart push; fi

install-yaml: setup ## write build/install.yaml, for kubectl apply instead of Helm (IMAGES=registry/folder)
	@HELM="$$($(PYTHON) -c 'from cluster import toolchain; print(toolchain.helm())')" && export HELM && \
	  tools/chart install-yaml && cp build/chart/install.yaml build/install.yaml

# What the pipeline of a release runs: docs/how-to/release-the-project.md.
.PHONY: release-notes
release-notes: ## check that a tag is the version of all files, and take its part of the changelog (TAG=v1.2.3)
	@tools/release-notes $(TAG)

.PHONY: dist
dist: .venv/bin/uv ## build the Python distribution into dist
	rm -rf dist
	.venv/bin/uv build --build-constraint locks/build.txt --require-hashes

.PHONY: krew
krew: ## write the plugin for kubectl krew into build/release/krew (TAG=v1.2.3 RELEASES=https://…)
	@tools/krew $(TAG)

.PHONY: push-image
push-image: ## build one image for this processor, and push it by digest (PART=operator IMAGES=registry/folder)
	@tools/registry push $(PART)

.PHONY: publish
publish: ## name the pushed images, push the chart, sign both (TAG=v1.2.3 IMAGES=registry/folder)
	@tools/registry publish $(TAG)

.PHONY: clean
clean: ## remove the environment and what tools left behind; not the clusters
	rm -rf .venv .venv-text .venv-flow .venv-feast .venv-scan .venv-browser .venv-docs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
