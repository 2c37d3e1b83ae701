#!/usr/bin/env bash
# No branch and no address depends on a secret: release code under valgrind, with every secret marked undefined.
# Twice: as it ships (AES by instructions), and with the software AES of machines that have none.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
  echo "constant-time: skipped, there is no valgrind (Debian, Ubuntu: apt-get install valgrind)" >&2
  exit 0
fi
check() {
  echo "-- $1"
  valgrind --quiet --error-limit=no --suppressions=constant-time/valgrind.supp --log-file="$2/constant-time.log" \
    "$2/release/twoply-constant-time" || {
    head -60 "$2/constant-time.log" >&2
    exit 1
  }
}
cargo build --release --locked --quiet -p twoply-constant-time
check "as it ships" "${CARGO_TARGET_DIR:-target}"
soft="${CARGO_TARGET_DIR:-target}/soft-aes"
RUSTFLAGS='--cfg aes_backend="soft"' cargo build --release --locked --quiet -p twoply-constant-time --target-dir "$soft"
check "software AES" "$soft"
