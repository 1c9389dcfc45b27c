#!/usr/bin/env bash
# Runs each fuzz target for SECONDS_EACH (60), or only those named as arguments. New inputs stay in
# fuzz/corpus, which is not committed; a crash is kept in fuzz/artifacts, and its input belongs into
# fuzz/seeds once it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-60}

if ! cargo +nightly fuzz --version >/dev/null 2>&1 </dev/null; then
  printf '\nNOT FUZZED: this needs a nightly toolchain and cargo-fuzz:\n' >&2
  printf '  rustup toolchain install nightly && cargo install --locked cargo-fuzz@0.13.2\n\n' >&2
  exit 1
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(cargo +nightly fuzz list)
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
for target in "${targets[@]}"; do
  printf '\n=== %s, %s s\n' "$target" "$seconds"
  mkdir -p "fuzz/corpus/$target"
  # No input is longer than 64 kB, so that none has a reason to hold 256 MB at once or to take 10 s.
  cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=65536 -malloc_limit_mb=256 -rss_limit_mb=2048 -timeout=10 \
    -print_final_stats=1
done
printf '\nno input made a target fail\n'
