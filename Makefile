# Everything a user or a developer runs. `make` alone lists the targets.

CARGO ?= cargo
PYTHON ?= python3

# native (built in) or torch (through libtorch, fetched on first use).
LEARNER ?= native
# Flags for the command behind a target, such as ARGS="--seed 7 --stop-when-solved".
ARGS ?=

# Where cargo builds. Absolute, because some of what is called here works in a folder of its own.
ifdef CARGO_TARGET_DIR
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR
TARGET = $(CARGO_TARGET_DIR)
else
TARGET = target
endif

# The torch build lies apart from the default one, so that the two do not rebuild each other.
TORCH_BUILD = --features torch --target-dir $(TARGET)/torch

# So does the build that joins machines.
MPI_BUILD = --features mpi --target-dir $(TARGET)/mpi

# What two test targets need, so that both have one build.
EXTRAS_BUILD = --features faults,png

ifeq ($(LEARNER),torch)
BUILD = $(TORCH_BUILD)
SETUP = libtorch
else
BUILD =
SETUP =
endif

# Frame pointers let perf follow calls; the build with them lies apart from the others.
PERF_BUILD = $(filter --features torch,$(BUILD)) --target-dir $(TARGET)/perf

.DEFAULT_GOAL := help
.PHONY: help train report submission test test-default test-faults test-release test-png test-model test-torch test-tensorboard test-gymnasium test-wheel test-mpi test-tools \
	test-pytorch test-under-load check fuzz audit lint doc tensorboard bench-throughput throughput-doc bench-kernels bench-micro \
	bench-networks bench-environments bench-peers bench-advice bench-cluster perf seeds vtrace-table soak storm storm-cluster libtorch build build-torch build-mpi wheel clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

train: $(SETUP) ## Learn CartPole-v1 and leave a report (LEARNER=torch, ARGS="--seed 7")
	$(CARGO) run --release $(BUILD) -- train --learner $(LEARNER) $(ARGS)

test: test-default test-faults test-png test-model test-torch test-tensorboard test-gymnasium test-wheel test-mpi test-tools ## Every test

test-default: ## Tests of the default build: no libtorch
	$(CARGO) test --all-targets
	$(CARGO) test --doc

test-faults: ## Faults on purpose at every named point, and a short storm, in a build that has such points
	$(CARGO) test $(EXTRAS_BUILD) --test faults --test storm

# Builds nothing after `make train`. Not in `make test`, since for that alone a release build would take too long.
test-release: build ## The release build has no fault points
	IMPALA_RELEASE=$(abspath $(TARGET))/release/impala $(CARGO) test --test faults a_release_build

test-png: ## The report's PNG pictures: each drawing decodes and has its text
	$(CARGO) test $(EXTRAS_BUILD) --test report every_drawing_becomes_a_png

test-model: ## Memory orderings: loom, the mutants that it must catch, Miri and ThreadSanitizer where there are
	tests/model/run.sh

# In release, so that libtorch's wrapper is compiled once for tests and training.
test-torch: ## Tests of the libtorch learner; skipped, loudly, where libtorch cannot be had
	@status=0; $(PYTHON) tools/libtorch.py || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) test --release $(TORCH_BUILD) --test 'torch_*'; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: the tests of the libtorch learner: there is no libtorch (see above)'; \
	else \
		exit $$status; \
	fi

test-tensorboard: ## What a run writes for TensorBoard, read by TensorBoard; skipped, loudly, where it cannot be had
	@status=0; $(PYTHON) tools/tensorboard.py || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) test --test tensorboard; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: reading with TensorBoard: it could not be installed (see above)'; \
	else \
		exit $$status; \
	fi

test-gymnasium: ## Environments of Gymnasium in processes of their own; skipped, loudly, where it cannot be had
	@status=0; $(PYTHON) tools/gymnasium.py || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) test --test outside_env; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: environments of Gymnasium: it could not be installed (see above)'; \
	else \
		exit $$status; \
	fi

# More threads than cores: most of them wait for an mpirun that waits for nothing.
test-mpi: ## Several ranks by mpirun, also in two network namespaces; skipped, loudly, where there is no MPI
	@status=0; tools/mpi.sh || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) test --features mpi --test mpi -- --test-threads 8; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: learning of several ranks: there is no MPI (see above)'; \
	else \
		exit $$status; \
	fi

test-wheel: ## The wheel, installed into a fresh virtual environment, trains and acts; skipped, loudly, where maturin cannot be had
	@status=0; $(PYTHON) tools/wheel.py --into $(TARGET)/wheel-env || status=$$?; \
	if [ $$status -eq 0 ]; then \
		IMPALA_WHEEL_PYTHON=$(abspath $(TARGET))/wheel-env/bin/python $(CARGO) test --test python_package; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: the wheel: maturin could not be installed (see above)'; \
	else \
		exit $$status; \
	fi

test-tools: ## Tests of the tools that fetch or pack and of bench/peers, without a network
	$(PYTHON) -m unittest discover --start-directory tools --pattern 'test_*.py'
	$(PYTHON) -m unittest discover --start-directory bench/peers --pattern 'test_*.py'

test-pytorch: ## The lines of docs/checkpoints.md, run by PyTorch, which is fetched on first use (6 GB)
	PYTHON=$$($(PYTHON) bench/peers/environments.py pytorch) && export PYTHON && $(CARGO) test --test pytorch

test-under-load: ## Every test twenty times with a busy loop on each core, hours (RUNS=3)
	tests/under_load.sh $(RUNS)

fuzz: ## Each fuzz target for a minute (SECONDS_EACH=600); needs a nightly toolchain and cargo-fuzz
	fuzz/run.sh $(ARGS)

audit: ## Licences, sources and known faults of every dependency; fetches cargo-deny on first use
	tools/audit.sh

check: lint doc test ## All that has to hold before a change lands

lint: ## Formatting and clippy, warnings are errors; what needs MPI is skipped, loudly, where there is none
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@status=0; tools/mpi.sh || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) clippy --features mpi --lib --bins --test mpi --bench cluster -- -D warnings; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: clippy of what needs MPI: there is none (see above)'; \
	else \
		exit $$status; \
	fi

doc: ## The API's documentation, warnings are errors
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps

bench-throughput: build-torch ## Frames per second, what each method is worth, scaling; tables, JSON, picture in results/bench (ARGS="--quick", "--headline", "--ablations", "--baseline FILE")
	$(CARGO) bench --bench throughput -- $(ARGS)

bench-kernels: ## The matrix kernels against the core's own peak; table and JSON in results/bench
	$(CARGO) bench --bench kernels -- $(ARGS)

bench-micro: ## Each part beside the obvious alternative (ARGS="--criterion V-trace" looks closely)
	$(CARGO) bench --bench micro -- $(ARGS)

bench-advice: ## Whether the advice of a report is worth following: what it promised, and what came (ARGS="--rounds 10")
	$(CARGO) bench --bench advice -- $(ARGS)

bench-networks: libtorch ## Each network on one core, acting and learning, by our own arithmetic and by libtorch; table and JSON in results/bench
	$(CARGO) bench $(TORCH_BUILD) --bench networks -- $(ARGS)

bench-cluster: build-mpi ## One rank and two, pinned to a core each, over shared memory and over TCP between network namespaces; tables in results/bench
	$(CARGO) bench $(MPI_BUILD) --bench cluster -- $(ARGS)

bench-environments: build-torch ## CartPole, LunarLander and Pong of Python: bare, through the engine, and by others; half an hour (ARGS=--kinds: each kind of space, ARGS="--hours 1": an hour of Pong)
	@$(PYTHON) tools/gymnasium.py
	$(CARGO) bench $(TORCH_BUILD) --bench environments -- --peers-python $(PYTHON) $(ARGS)

bench-peers: build ## CartPole-v1 with Stable-Baselines3, Sample Factory, RLlib, TorchRL, rejax and us, tens of minutes (ARGS="--only sb3-ppo", "--env LunarLander-v3 --seeds 5")
	$(PYTHON) bench/peers/main.py $(ARGS)

.PHONY: throughput-doc
throughput-doc: ## docs/throughput.md, its pictures and tables, from the committed figures in results/bench
	$(CARGO) bench --bench explain

perf: $(SETUP) ## Flame graphs and top functions of every process, in results/perf (LEARNER=torch, ARGS="--seconds 10")
	RUSTFLAGS='-C force-frame-pointers=yes' $(CARGO) bench $(PERF_BUILD) --bench perf -- --learner $(LEARNER) $(ARGS)

seeds: ## Train seeds 1 to 20: the table of when each was solved, and a report that compares them
	$(CARGO) bench --bench seeds -- $(ARGS)

vtrace-table: ## What V-trace is worth: each correction of the paper's Table 2 at several lags, half an hour
	$(CARGO) bench --bench vtrace -- $(ARGS)

soak: ## An hour of training, watched for growth of memory and descriptors and decay of speed (ARGS="--minutes 480")
	$(CARGO) bench --bench soak -- $(ARGS)

storm: ## A training run whose workers are killed and stopped at random, a minute (ARGS="--seconds 600")
	$(CARGO) bench --features faults --bench storm -- $(ARGS)

storm-cluster: build-mpi ## Two ranks whose actors are killed at random, five minutes: both have equal weights at the end (ARGS="--seconds 600")
	$(CARGO) bench $(MPI_BUILD) --bench cluster -- --storm $(ARGS)

build: ## The binary without libtorch: release/impala in target, or in CARGO_TARGET_DIR
	$(CARGO) build --release

build-torch: libtorch ## The binary with the libtorch learner: torch/release/impala in target, or in CARGO_TARGET_DIR
	$(CARGO) build --release $(TORCH_BUILD)

build-mpi: ## The binary that learns on several machines: mpi/release/impala in target, or in CARGO_TARGET_DIR
	@tools/mpi.sh
	$(CARGO) build --release $(MPI_BUILD)

report: ## Render a run's report again with PNG pictures, or compare runs (ARGS="RUN RUN --out DIR")
	$(CARGO) run --release --features png --target-dir $(TARGET)/png -- report $(ARGS)

submission: ## One .zip of code, report, settings and the page on throughput (ARGS=results/RUN)
	@$(PYTHON) tools/submission.py $(ARGS)

tensorboard: ## TensorBoard on results/, installed into third_party (180 MB) on first use
	@$(PYTHON) tools/tensorboard.py --show results

wheel: ## The command and its Python package as a wheel for pip, in target/wheels, or below CARGO_TARGET_DIR
	$(PYTHON) tools/wheel.py

libtorch: ## Fetch libtorch into third_party (544 MB, once), or check the one LIBTORCH names
	@$(PYTHON) tools/libtorch.py

clean: ## Remove what was built; fetched libtorch and results stay
	$(CARGO) clean
