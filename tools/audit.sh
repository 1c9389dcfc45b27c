#!/usr/bin/env bash
# Holds every dependency to deny.toml: licences, bans, sources, and known faults where the list of them
# can be fetched. Installs the pinned cargo-deny if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
if ! cargo deny --version >/dev/null 2>&1 </dev/null; then
  cargo install --locked "cargo-deny@$version"
fi

status=0
for manifest in Cargo.toml tests/model/Cargo.toml fuzz/Cargo.toml; do
  printf '=== %s\n' "$manifest"
  cargo deny --manifest-path "$manifest" --config "$PWD/deny.toml" check --hide-inclusion-graph \
    licenses bans sources || status=1
done

printf '=== known faults (RustSec)\n'
if cargo deny fetch db >/dev/null 2>&1 </dev/null; then
  cargo deny check advisories || status=1
else
  printf 'NOT CHECKED: the list of known faults cannot be fetched from here; run `make audit` where it can\n' >&2
fi
exit $status
