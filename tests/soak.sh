#!/usr/bin/env bash
# The soak: tests/soak.sh [MINUTES] [--seed N] [--json FILE]; see tests/src/soak.rs for what it does and
# tests/src/soak/verdict.rs for what must hold. Loopback alone, no outside data; everything lies in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet -p twoply-party --bin twoply -p twoply-tests --bin soak
exec "${CARGO_TARGET_DIR:-target}/release/soak" "$@"
