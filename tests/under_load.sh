#!/usr/bin/env bash
# Runs every test of the default build again and again with a busy loop on each core, and says which ever
# failed: a test that only passes on a quiet machine is a broken one. `tests/under_load.sh 20` takes hours.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-20}
log=$(mktemp -d)
busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true' EXIT

cargo test --all-targets --no-run
for _ in $(seq "$(nproc)"); do
  sh -c 'while :; do :; done' &
  busy+=($!)
done

failed_runs=0
for run in $(seq "$runs"); do
  start=$SECONDS
  if cargo test --all-targets --no-fail-fast >"$log/$run" 2>&1; then
    outcome=passed
  else
    failed_runs=$((failed_runs + 1))
    # Each line names a test, or the program of one that has no names.
    outcome="FAILED: $(grep -E '^(test .* FAILED| +`--)' "$log/$run" | tr -s ' \n' ' ' || true)"
  fi
  echo "run $run of $runs: $((SECONDS - start)) s, load $(cut -d' ' -f1 /proc/loadavg), $outcome"
done
echo "$failed_runs of $runs runs failed, with a busy loop on each of $(nproc) cores; output in $log"
[ "$failed_runs" -eq 0 ]
