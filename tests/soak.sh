#!/usr/bin/env bash
# The soak: tests/soak.sh [MINUTES] [--seed N] [--json FILE]; see tests/src/soak.rs for what it does and
# tests/src/soak/verdict.rs for what must hold. Loopback alone, no outside data; everything lies in a temporary folder.
set -euo pipefail
if [[ $# -gt 0 && ! $1 =~ ^([1-9][0-9]*|--seed|--json)$ ]]; then
  echo "usage: tests/soak.sh [MINUTES] [--seed N] [--json FILE]" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
cargo build --manifest-path "$root/Cargo.toml" --release --locked --quiet \
  -p twoply-party --bin twoply -p twoply-tests --bin soak
exec "${CARGO_TARGET_DIR:-$root/target}/release/soak" "$@"
