#!/usr/bin/env bash
# The protocols of src/shm on four machines: the processor, loom, and Miri and ThreadSanitizer where a
# nightly toolchain has what they need.
set -euo pipefail
cd "$(dirname "$0")"

step() {
  printf '\n=== %s\n' "$*"
}

step 'processor: thousands of runs'
cargo test --locked --tests

# A folder of its own: the flag changes every dependency, and the next ordinary build would start over.
step 'loom: every interleaving'
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" RUSTFLAGS='--cfg loom' \
  cargo test --locked --tests

step 'mutants: what loom must notice'
./mutants.py

# Set-up needs more than the command: a nightly toolchain with the library's sources.
if cargo +nightly miri setup >/dev/null 2>&1 </dev/null; then
  # Permissive provenance only silences a warning about a cast inside rustix.
  export MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-permissive-provenance'
  step 'Miri: data races and undefined behaviour in the protocols'
  cargo +nightly miri test --locked --tests
  step 'Miri: the segment, its casts and its rollouts'
  (cd ../.. && cargo +nightly miri test --locked --lib -- \
    shm::tests shm::ring shm::cells shm::weights shm::doorbell shm::board shm::state rollout)
else
  printf '\nSKIPPED: Miri is not ready: `rustup component add --toolchain nightly miri rust-src`, then run this again.\n' >&2
fi

# The nightly's own standard library is not instrumented: of its synchronisation only what goes through the
# system is seen, which is all that the scenarios use. Its test harness uses more: see tsan.supp.
flags='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer'
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
# shellcheck disable=SC2086  # two flags
if echo 'fn main() {}' | rustc +nightly $flags -o "$probe/program" - >/dev/null 2>&1; then
  host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
  step 'ThreadSanitizer: data races in the protocols, as the processor runs them'
  CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan" RUSTFLAGS="$flags" \
    TSAN_OPTIONS="suppressions=$PWD/tsan.supp" \
    cargo +nightly test --locked --tests --target "$host"
else
  printf '\nSKIPPED: ThreadSanitizer is not ready: `rustup toolchain install nightly`, then run this again.\n' >&2
fi
