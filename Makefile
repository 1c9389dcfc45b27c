# The libtorch learner: fetching libtorch, building with it, testing it.

CARGO ?= cargo
PYTHON ?= python3
# Apart from the default build, so that the two do not rebuild each other.
TORCH_BUILD = --features torch --target-dir target/torch

.PHONY: libtorch build-torch test-torch test-tools

## Fetch libtorch into third_party/libtorch (544 MB, once), or check the one LIBTORCH names
libtorch:
	@$(PYTHON) tools/libtorch.py

## Build the binary with the libtorch learner into target/torch/release
build-torch: libtorch
	$(CARGO) build --release $(TORCH_BUILD)

## Test the libtorch learner; skipped, loudly, where libtorch cannot be fetched (not with CI=true)
test-torch:
	@status=0; $(PYTHON) tools/libtorch.py || status=$$?; \
	if [ $$status -eq 0 ]; then \
		$(CARGO) test $(TORCH_BUILD) --test 'torch_*'; \
	elif [ $$status -eq 3 ] && [ "$$CI" != true ]; then \
		echo 'SKIPPED: the tests of the libtorch learner: there is no libtorch (see above)'; \
	else \
		exit $$status; \
	fi

## Test tools/libtorch.py itself, without a network
test-tools:
	$(PYTHON) -m unittest discover --start-directory tools --pattern 'test_*.py'
