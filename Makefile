.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
COHORT ?= sample
PORT ?= 5001
UI_PORT ?= 5000
DASHBOARD_PORT ?= 8080
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Without build isolation: what is built is built with the setuptools of bootstrap.lock, checked by hash.
# Compiled once, here: where Python may not write bytecode, each process would compile TensorFlow again.
INSTALL = .venv/bin/uv pip install --quiet --python .venv/bin/python --no-build-isolation --compile-bytecode

# `##@` begins a group of targets, `##` describes a target.
.PHONY: help
help:
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.venv/bin/uv: infra/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "error: Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is `$(PYTHON) --version`. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian install python3-venv" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/bootstrap.lock
	@touch $@

.venv/.installed: .venv/bin/uv requirements.lock pyproject.toml
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --editable .
	@.venv/bin/python -m pipelines._vega --out .venv/vega.js
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

# If a test process dies, the run ends: with a replacement, pytest-xdist may wait for ever.
PYTEST = python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

##@ Start

.PHONY: install
install: .venv/.installed ## Create .venv with the locked versions

.PHONY: demo
demo: .venv/.installed ## Run the whole pipeline on synthetic images (6 to 9 minutes on two cores)
	@python -m pipelines._repro
	@python -m pipelines.summary

# Also before the packages are installed: with $(PYTHON), whose version may be the problem.
.PHONY: doctor
doctor: ## Check machine and project: what is wrong, and what to do
	@PYTHONPATH=src $(or $(wildcard .venv/bin/python),$(PYTHON)) -m melanoma.stages.doctor

.PHONY: relocate
relocate: .venv/.installed ## Update the paths in mlflow.db after the project was moved or copied
	@python -m pipelines.relocate

.PHONY: search
search: .venv/.installed ## Search families, sizes and recipes (COHORT=isic: 2 hours), then train the best
	@python -m pipelines._search --cohort '$(COHORT)'

.PHONY: watch
watch: .venv/.installed ## After make demo: what follows serving, from alarms to the next model (5 minutes)
	@python -m pipelines._watch

##@ Look at results

.PHONY: ui
ui: .venv/.installed ## Compare runs in the browser (UI_PORT=5000)
	@python -m pipelines.ui --port $(UI_PORT)

.PHONY: experiments
experiments: .venv/.installed ## Compare experiments of DVC: scores, learning rate, depth, trials
	@python -m pipelines._experiments

.PHONY: plots
plots: .venv/.installed ## Draw curves, calibration and audit to dvc_plots/index.html
	@python -m pipelines._needs
	@dvc plots show

.PHONY: dashboard
dashboard: .venv/.installed ## Explore hyperparameter searches in the browser (DASHBOARD_PORT=8080)
	@python -m pipelines._dashboard --port $(DASHBOARD_PORT)

.PHONY: dag
dag: .venv/.installed ## Print the graph of stages as Mermaid
	@dvc dag --md page

.PHONY: summary
summary: .venv/.installed ## Print the last results and the next commands
	@python -m pipelines.summary

.PHONY: page
page: .venv/.installed ## Redraw reports/index.html with the current state of the registry
	@python -m pipelines._needs
	dvc repro --single-item --force page

.PHONY: publish
publish: .venv/.installed ## Write results to reports/published (COHORT=isic: one cohort; REPLACE=1: afresh)
	@python -m pipelines.publish $(if $(filter command environment,$(origin COHORT)),--cohort $(COHORT)) \
		$(if $(REPLACE),--replace)

##@ Serve a model

# A registry that is down is reported within seconds; by default MLflow retries for four minutes.
.PHONY: serve
serve: .venv/.installed ## Serve the staging model of a cohort (COHORT=sample PORT=5001)
	@MLFLOW_HTTP_REQUEST_MAX_RETRIES=$${MLFLOW_HTTP_REQUEST_MAX_RETRIES:-2} \
		python -m pipelines._serve --cohort '$(COHORT)' --port $(PORT)

##@ Use real images

.PHONY: data-pull
data-pull: .venv/.installed ## Pull the data of this version from the S3 store
	@python -m pipelines.storage pull

.PHONY: data-push
data-push: .venv/.installed ## Push the data of this version to the S3 store and check them
	@python -m pipelines.storage push

.PHONY: data-check
data-check: .venv/.installed ## Compare data/raw with the published manifests of the raw data
	@python -m pipelines.data_check

# Parameters of the study that differ from the committed ones; `dvc exp run` writes them into params.yaml.
STUDY = -S 'run.datasets=[isic,ph2]' -S 'run.cohorts=[isic,ph2,joint]' -S 'study.cohorts=[isic,ph2,joint]' \
	-S segment.train=true -S model.num_views=2 -S train.num_epochs=40
# A search for a better network than the paper's: over its architecture.
WIDE_SEARCH = -S tune.num_trials=22 -S tune.num_startup_trials=8 \
	-S 'tune.space.learning_rate={low: 5.0e-5, high: 5.0e-3, log: true}' -S 'tune.space.depth={low: 3, high: 5}' \
	-S 'tune.space.batch_norm={choices: [false, true]}' -S 'tune.space.residual={choices: [false, true]}' \
	-S 'tune.space.global_pooling={choices: [false, true]}' -S 'tune.space.augment_strength={choices: [0.0, 1.0]}' \
	-S 'tune.space.dropout={low: 0.0, high: 0.5, log: false}'

.PHONY: study
study: .venv/.installed-dev ## Rebuild and test the paper on ISIC and PH2 (about a day on two cores; resumes)
	dvc exp run --all-pipelines $(STUDY) $(WIDE_SEARCH)

##@ Develop

.PHONY: install-dev
install-dev: .venv/.installed-dev ## Add the development tools to .venv

.PHONY: lint
lint: .venv/.installed-dev ## Check style, types and the direction of imports
	ruff check .
	ruff format --check .
	mypy
	lint-imports

.PHONY: format
format: .venv/.installed-dev ## Fix what ruff can fix
	ruff check --fix .
	ruff format .

.PHONY: check
check: lint ## Run linters and the tests that your changes touch (at most 2 minutes)
	@python -m tests.touched

.PHONY: test
test: lint ## Run linters and all tests that are not marked slow (20 minutes on two cores)
	$(PYTEST) -m "not slow"

.PHONY: test-slow
test-slow: .venv/.installed-dev ## Run the slow tests only: real servers, clusters, fresh clones
	$(PYTEST) -m slow

.PHONY: test-all
test-all: lint ## Run linters and all tests (50 minutes on two cores)
	$(PYTEST)

.PHONY: lock
lock: .venv/bin/uv ## Resolve the locks after a change of pyproject.toml
	.venv/bin/uv pip compile pyproject.toml $(COMPILE) -o requirements.lock
	.venv/bin/uv pip compile pyproject.toml --extra dev --extra ray --extra jax --extra vgg16 -c requirements.lock $(COMPILE) -o requirements-dev.lock
	printf 'setuptools\nuv\n' | .venv/bin/uv pip compile - -c requirements.lock $(COMPILE) -o infra/bootstrap.lock
COMPILE = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

##@ Measure

.PHONY: bench-data
bench-data: .venv/.installed-dev ## Measure inspect and duplicates against plain code
	python -m tests.benchmarks.bench_inspect
	python -m tests.benchmarks.bench_duplicates

.PHONY: bench-train
bench-train: .venv/.installed-dev ## Measure training, pack and tune against plain code (TORCH_PYTHON=... has torch)
	TORCH_PYTHON=$(TORCH_PYTHON) python -m tests.benchmarks.bench_train

.PHONY: bench-statistics
bench-statistics: .venv/.installed-dev ## Simulate whether intervals, splits, gates and guarantees keep their promise
	python -m tests.benchmarks.bench_statistics --write

.PHONY: bench-serve
bench-serve: .venv/.installed-dev ## Measure serving and the bootstrap against plain code
	python -m tests.benchmarks.bench_bootstrap
	python -m tests.benchmarks.bench_serve

.PHONY: bench-evaluate
bench-evaluate: .venv/.installed-dev ## Measure evaluate and audit of 5,000 images by part
	python -m tests.benchmarks.bench_evaluate

.PHONY: bench-recalibrate
bench-recalibrate: .venv/.installed-dev ## Measure recalibration on HAM10000 (MODEL=models:/melanoma-isic/1)
	python -m tests.benchmarks.bench_recalibrate --model '$(or $(MODEL),models:/melanoma-isic@staging)' \
		--images '$(HAM10000)/images' --metadata '$(HAM10000)/HAM10000_metadata.csv'
HAM10000 = $(or $(MELANOMA_REAL_DATA),../shared/data)/ham10000

.PHONY: bench-records
bench-records: .venv/.installed-dev ## Measure what recording answers costs, and kill a server that records
	python -m tests.benchmarks.bench_records

.PHONY: bench-shadow
bench-shadow: .venv/.installed-dev ## Measure what a challenger in shadow costs the answers of the served model
	python -m tests.benchmarks.bench_shadow
