# Every target works from a fresh clone, and does only what is missing. `make help` lists them.
#
#   PYTHON=python3.12        interpreter of the environment (default: the first of 3.11 or newer that runs)
#   TORCH="torch==2.11.0"    torch to install (default: the CPU build that constraints/cpu.txt pins; the newest with a GPU)
#   ARGS="-k commit -x"      more arguments for pytest

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3, \
  $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 'torch>=2.11' || grep '^torch==' constraints/cpu.txt)
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint $(VENV)/constraints.txt
# the installed package is what the tests see, not the folder of the same name here
export PYTHONSAFEPATH := 1

# folders too: their times change when a file comes or goes
SOURCES := CMakeLists.txt setup.py pyproject.toml LICENSE \
  $(shell find csrc sjd2_kernels python \( -name __pycache__ -o -name '*.egg-info' \) -prune -o \
    ! -name '*.so' ! -name '_*_failure.txt' -print)

.PHONY: help install test bench lint format docs aot sanitize demo clean FORCE
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(VENV)/installed ## build the package and install it, with what the tests need, into .venv

test: install ## the whole suite, on up to four cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 $(ARGS)

bench: install ## the benchmarks; JSON goes to bench/results
	$(BIN)/pytest bench $(ARGS)

lint: $(VENV)/tools ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/tools ## apply ruff's format and its safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: export NO_MKDOCS_2_WARNING := 1
docs: install ## the documentation as a site, without the network: build/site; a warning is an error
	$(BIN)/mkdocs build --strict

demo: install ## a picture from a sentence by the embedded models, token by token and by SJD2: out/demo.png
	$(BIN)/sjd2 demo

clean: ## remove everything that make made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f sjd2_kernels/*.so sjd2_kernels/_native_failure.txt sjd2_kernels/_cuda_failure.txt
	find csrc sjd2_kernels python tests bench docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# --- the environment -------------------------------------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# the versions in force; rewritten only when they change, so that another TORCH installs anew;
# the pin of triton belongs to the CPU build, others bring a version of their own
$(VENV)/constraints.txt: constraints/cpu.txt $(VENV)/pyvenv.cfg FORCE
	@{ echo "# $(TORCH)"; grep -vE '^(torch|triton)==' constraints/cpu.txt; echo '$(filter torch==%,$(TORCH))'; \
	  grep -qx '$(TORCH)' constraints/cpu.txt && grep '^triton==' constraints/cpu.txt; true; } > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(VENV)/tools: $(VENV)/constraints.txt
	$(PIP) setuptools cmake ninja pybind11 ruff mypy '$(TORCH)'
	@touch $@

# without build isolation: the tools stay where they are, so a second build compiles only what changed;
# no stamp without the native kernels: then the next call tries again
$(VENV)/installed: $(VENV)/tools $(SOURCES)
	$(PIP) --no-build-isolation '.[test,bench]'
	@$(BIN)/python -c 'import sjd2_kernels; sjd2_kernels.show_config()'
	@! $(BIN)/python -c 'import sjd2_kernels._cpu' 2>/dev/null || touch $@

# --- GPU kernels, compiled without a GPU -----------------------------------------------------------------------------

OLD_TRITON := 3.6.0
AOT := build/aot
compile = $(BIN)/python -m bench.aot --every --arch 80 90 100

aot: install $(VENV)/triton-$(OLD_TRITON) ## registers and spills of every GPU kernel for sm_80, sm_90, sm_100
	mkdir -p $(AOT)
	PYTHONPATH=. $(compile) --out $(AOT)/new.json
	PYTHONPATH=.:$(VENV)/triton-$(OLD_TRITON) $(compile) --language triton --out $(AOT)/old.json
	PYTHONPATH=. $(BIN)/python -m bench.aot --table $(AOT)/new.json $(AOT)/old.json --into docs/kernels.md

$(VENV)/triton-$(OLD_TRITON): $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --target $@ triton==$(OLD_TRITON)

# --- sanitizers ------------------------------------------------------------------------------------------------------

CXX ?= c++
SANITIZED := $(CURDIR)/build/sanitize
library = $(realpath $(shell $(CXX) -print-file-name=$(1)))
# those that do not touch the decoder, nor the build itself, nor other kernels than those in C++
OPERATOR_TESTS = $(filter-out tests/test_packaging.py tests/test_style.py tests/test_backbones% tests/test_triton% \
  tests/test_aot% tests/test_cuda.py tests/test_bench% tests/test_docs% tests/test_gpu% tests/test_examples.py, \
  $(shell grep -LE '^ *(from|import) sjd2( |\.|$$)' tests/test_*.py))

sanitize: install ## the operator tests against a module built with AddressSanitizer and UBSan
	$(BIN)/cmake -S . -B $(SANITIZED)/cmake -G Ninja -DSJD2_SANITIZE=ON -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build $(SANITIZED)/cmake
	rm -rf $(SANITIZED)/package && mkdir -p $(SANITIZED)/package
	cp -r sjd2_kernels $(SANITIZED)/package/ && rm -f $(SANITIZED)/package/sjd2_kernels/*.so
	$(BIN)/cmake --install $(SANITIZED)/cmake --prefix $(SANITIZED)/package
	PYTHONPATH=$(SANITIZED)/package SJD2_REQUIRE_NATIVE=1 ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_PRELOAD="$(call library,libasan.so) $(call library,libubsan.so) $(call library,libstdc++.so)" \
	  $(BIN)/pytest --capture=sys $(OPERATOR_TESTS) $(ARGS)
