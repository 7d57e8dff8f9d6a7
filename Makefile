# Two commands do everything from a fresh clone:  make figures  and  make test.
# They need make, Python 3.11, 3.12 or 3.13, and a package index; the environment is built once, in
# .venv. Python 3.14 is left out: Snakemake needs immutables, which has no wheel for it.

# The interpreter that makes the environment: the newest on the PATH that fits, looked for once and
# only when an environment is to be made.
fits = $(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
try = $(if $(shell $(call fits,$(1)) 2>/dev/null && echo yes),$(1))
CANDIDATES := python3.13 python3.12 python3.11 python3 python
PYTHON ?= $(eval PYTHON := $(firstword $(foreach name,$(CANDIDATES),$(call try,$(name)))))$(PYTHON)

define NO_PYTHON
error: Python 3.11, 3.12 or 3.13 is needed, and $(if $(PYTHON),'$(PYTHON)' is not one,none is on the PATH).
Any of these gets one; give the command that you want in place of 'make figures':
  apt install python3 python3-venv                      (Debian 12 and 13, Ubuntu 24.04), make figures
  uv python install 3.13 && make figures PYTHON="$$(uv python find 3.13)"
  pyenv install 3.13 && make figures PYTHON="$$(pyenv prefix 3.13)/bin/python"
  conda create --yes --prefix ./.python python=3.13 && make figures PYTHON=.python/bin/python
endef
define NO_VENV
error: '$(PYTHON)' cannot make environments: its module ensurepip is missing, which Debian and Ubuntu
have in a package of its own: apt install python3-venv (of another Python than the system's:
python3.13-venv, by its version), then give the same command again.
endef
define LINKED_VENV
error: $(@D) is a link, to $(realpath $(@D)), and that is not the environment of this checkout: making
one here would empty it. Remove the link (rm $(@D)), then give the same command again.
endef

# GPU=1 takes the environment with JAX for CUDA instead; it stands beside the other one.
GPU ?=
# REMOTE=1 adds Kubernetes and object storage, GPU=1 or not.
REMOTE ?=
VENV := .venv$(if $(GPU),-gpu)$(if $(REMOTE),-remote)
LOCKS := envs/requirements-build.txt envs/requirements.txt
LOCKS += $(if $(GPU),envs/requirements-gpu.txt)
LOCKS += $(if $(REMOTE),envs/requirements-remote.txt)
DATA_LOCKS := envs/requirements-build.txt envs/requirements-data.txt
BENCHMARK_LOCKS := envs/requirements-build.txt envs/requirements.txt envs/requirements-benchmark.txt
GOOGLEBATCH_LOCKS := envs/requirements-build.txt envs/requirements-googlebatch.txt
TORCH_LOCK := envs/requirements-torch.txt
TORCH_CPU_LOCK := envs/requirements-torch-cpu.txt

# An environment is whole when its stamp exists: written last, and named after the locks and the
# folder, so that neither a half-made, an outdated nor a moved environment is taken for good.
stamp = $(1)/.complete-$(shell { cat $(2); pwd -P; } | cksum | cut -d ' ' -f 1)
STAMP := $(call stamp,$(VENV),$(LOCKS))
DATA_STAMP := $(call stamp,.venv-data,$(DATA_LOCKS))
GOOGLEBATCH_STAMP := $(call stamp,.venv-googlebatch,$(GOOGLEBATCH_LOCKS))
BENCHMARK_STAMP := $(call stamp,.venv-benchmark,$(BENCHMARK_LOCKS) $(TORCH_LOCK) $(TORCH_CPU_LOCK))

# Nothing that is installed elsewhere may leak in; and what Python compiles of its files is kept.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE := 1
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ACTIVATE = . $(VENV)/bin/activate

# Every file is checked against its hash. Two requirements have no wheel; they are built with the
# hash-locked setuptools, not with one fetched for the occasion.
PIP_INSTALL = -m pip install --quiet --no-deps --no-build-isolation --require-hashes \
	--only-binary :all: --no-binary promise,connection-pool

# The paper's data sets, prepared in .venv-data, the one environment with TensorFlow. What is in
# TFDS_DATA_DIR already stays as it is.
PREPARE = from samedge.base.errors import run_script; from samedge.data.tfds import open_splits; \
	run_script(lambda: [open_splits(name, ()) for name in ("mnist", "cifar10", "tiny_shakespeare")])

# An environment of whatever is newest, made anew each time.
NEWEST = $(PYTHON) -m venv --clear .venv-newest && \
	.venv-newest/bin/python -m pip install --quiet --editable '.[test]'
# What somebody without the workflow does first.
TRY = import jax, jax.numpy as jnp, samedge; \
	top = samedge.top_eigenpairs(lambda w: jnp.sum(w**4), jnp.ones(30), (), key=jax.random.key(0)); \
	print("samedge", samedge.__file__, "eigenvalues", top.values, "edge", samedge.sam_edge(1.0, 0.1, 0.1))

.DEFAULT_GOAL := help
.PHONY: help figures test test-newest wheel test-slurm test-torch test-environments test-remote run watch lint docs \
	environment googlebatch tfds benchmark lock clean

TORCH_TESTS = tests/unit/test_torch_loop.py tests/unit/test_benchmark_peers.py \
	"tests/workflow/test_tutorials.py::test_it_runs[pytorch_model]"
REMOTE_TESTS = tests/unit/test_environments.py tests/workflow/test_object_storage.py \
	tests/workflow/test_kubernetes.py tests/workflow/test_googlebatch.py

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s%s\n", $$1, $$2 }' Makefile

figures: $(STAMP)  ## run the default experiment: data, training, cubes, figures, claims, explorer, report
	$(ACTIVATE) && snakemake --cores all --resources gpu=1
	$(ACTIVATE) && snakemake --report results/default/report.html

# Two at a time: much of a test of the workflow is one process that starts, imports and waits. What
# a file of tests shares is made once. The order of files is that of tests/conftest.py, not that of
# their numbers of tests, by which the longest would come last. What tests compute is soon computed,
# and compiling it is most of their work: without LLVM's optimisations, with the older emitters of
# fused loops and in one piece it takes less than half as long, and rounds otherwise. "make test
# XLA_FLAGS=", pytest by itself and "make test-newest" compile as users do.
COMPILED_SOON := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1
test: export XLA_FLAGS ?= $(COMPILED_SOON)
test: $(STAMP)  ## run all tests
	$(ACTIVATE) && python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-newest:  ## run the unit and reference tests with the newest packages of the index, unlocked
	$(NEWEST) && .venv-newest/bin/python -m pip list
	.venv-newest/bin/python -m pytest tests/unit tests/reference --numprocesses 2 --dist loadfile

test-slurm: $(STAMP)  ## run the workflow's tests on a Slurm of this machine's own; see docs/clusters.md
	$(ACTIVATE) && SLURM_TESTS=1 python -m pytest tests/workflow/test_slurm.py

run: $(STAMP)  ## snakemake with your arguments: make run ARGS="figure_04 --cores all"
	$(ACTIVATE) && snakemake $(ARGS)

watch: $(STAMP)  ## show runs while they are trained; ARGS="results/laptop --page": others, on a page too
	$(ACTIVATE) && samedge watch $(or $(ARGS),results/default)

lint: $(STAMP)  ## check style, imports between rooms, types, and workflow
	$(ACTIVATE) && ruff check .
	$(ACTIVATE) && ruff format --check .
	$(ACTIVATE) && PYTHONPATH=workflow/scripts lint-imports --no-cache
	$(ACTIVATE) && mypy
	$(ACTIVATE) && snakefmt --check Snakefile workflow
	$(ACTIVATE) && snakemake --lint

# Material for MkDocs says at each build that it has a successor, unless it is told that one knows.
docs: $(STAMP)  ## build the documentation as a site that works offline: site/index.html
	$(ACTIVATE) && NO_MKDOCS_2_WARNING=1 mkdocs build --strict

environment: $(STAMP)  ## build the environment; GPU=1, here and above: the one with CUDA
	@echo "Ready. Enter it with: source $(VENV)/bin/activate"

test-torch: $(BENCHMARK_STAMP)  ## run the tests with PyTorch, in the benchmarks' environment
	. .venv-benchmark/bin/activate && python -m pytest $(TORCH_TESTS)

test-environments:  ## install each conda file's pip part alone and run that kind's jobs; ARGS=--uv: in minutes
	$(MAKE) environment REMOTE=1
	. .venv-remote/bin/activate && python tests/environments/minimal.py $(ARGS)

googlebatch: $(GOOGLEBATCH_STAMP)  ## build the environment that submits jobs to Google Batch

test-remote: googlebatch  ## run the tests of object storage, Kubernetes and Google Batch
	$(MAKE) environment REMOTE=1
	. .venv-remote/bin/activate && python -m pytest $(REMOTE_TESTS)

tfds: $(DATA_STAMP)  ## fetch the paper's data into TFDS_DATA_DIR, for "source: tfds"
	PYTHONPATH=workflow/scripts .venv-data/bin/python -c '$(PREPARE)'

benchmark: $(BENCHMARK_STAMP)  ## time everything beside its peers; needs TFDS_DATA_DIR and hours, see docs
	PYTHONPATH=workflow/scripts .venv-benchmark/bin/python -m benchmarks $(ARGS)

# The package itself, from this checkout: "import samedge" and the command work in the environment.
$(STAMP) $(BENCHMARK_STAMP): OWN = $(@D)/bin/python -m pip install --quiet --no-deps \
	--no-build-isolation --editable .

$(DATA_STAMP): LOCKS := $(DATA_LOCKS)
$(GOOGLEBATCH_STAMP): LOCKS := $(GOOGLEBATCH_LOCKS)
$(BENCHMARK_STAMP): LOCKS := $(BENCHMARK_LOCKS)
# PyTorch without CUDA where pip finds it (under PIP_FIND_LINKS, say), else the index's build.
$(BENCHMARK_STAMP): MORE = $(@D)/bin/python $(PIP_INSTALL) -r $(TORCH_CPU_LOCK) 2>/dev/null || \
	$(@D)/bin/python $(PIP_INSTALL) -r $(TORCH_LOCK)
$(STAMP) $(DATA_STAMP) $(GOOGLEBATCH_STAMP) $(BENCHMARK_STAMP): export PYTHON_ADVICE = $(NO_PYTHON)
$(STAMP) $(DATA_STAMP) $(GOOGLEBATCH_STAMP) $(BENCHMARK_STAMP): export VENV_ADVICE = $(NO_VENV)
$(STAMP) $(DATA_STAMP) $(GOOGLEBATCH_STAMP) $(BENCHMARK_STAMP): export LINK_ADVICE = $(LINKED_VENV)
$(STAMP) $(DATA_STAMP) $(GOOGLEBATCH_STAMP) $(BENCHMARK_STAMP):
	@$(call fits,$(or $(PYTHON),false)) 2>/dev/null || { echo "$$PYTHON_ADVICE" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$$VENV_ADVICE" >&2; exit 1; }
	@[ ! -L $(@D) ] || { echo "$$LINK_ADVICE" >&2; exit 1; }
	@echo "Building $(@D) with $(PYTHON) from $(LOCKS); this takes some minutes"
	$(PYTHON) -m venv --clear $(@D)
	for lock in $(LOCKS); do $(@D)/bin/python $(PIP_INSTALL) -r $$lock || exit 1; done
	$(MORE)
	$(OWN)
	$(@D)/bin/python -m pip check
	touch $@

wheel: $(STAMP)  ## build the wheel and the source archive, and try the wheel where nothing else is
	$(ACTIVATE) && rm -rf dist && uv build --quiet --no-build-isolation
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet dist/*.whl
	cd / && $(CURDIR)/.venv-newest/bin/python -c '$(TRY)'

lock: $(STAMP)  ## write envs/ anew from envs/*.in; UPGRADE=1: with the newest versions
	$(ACTIVATE) && python envs/write_environments.py $(if $(UPGRADE),--upgrade)

clean:  ## remove the environments (results stay)
	rm -rf .venv .venv-gpu .venv-remote .venv-gpu-remote .venv-googlebatch .venv-data .venv-benchmark .venv-newest
