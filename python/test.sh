#!/usr/bin/env bash
# The tests of the Python package against the release binary, or the one that TWOPLY names: no torch needed. Where numpy is missing it is installed into
# a virtual environment under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
TWOPLY=$(realpath -m "${TWOPLY:-${CARGO_TARGET_DIR:-target}/release/twoply}")
export TWOPLY
[ -x "$TWOPLY" ] || cargo build --release --locked --quiet
python=$(command -v python3) || { echo "python: skipped, there is no python3" >&2; exit 0; }
if ! "$python" -c 'import numpy' 2>/dev/null; then
  venv=$(realpath -m "${CARGO_TARGET_DIR:-target}/venv")
  if ! { "$python" -m venv "$venv" && "$venv/bin/pip" install --quiet numpy; }; then
    echo "python: skipped, numpy is missing and cannot be installed here" >&2
    exit 0
  fi
  python="$venv/bin/python"
fi
cd python && "$python" -W error::ResourceWarning -m unittest discover -t . -s tests
