#!/usr/bin/env bash
# tests/exporters/run.sh [FOLDER [STAGE..]]: what exporters write today, imported and compared with ONNX Runtime.
# FOLDER keeps environments and corpus [default: a temporary one]; stages are, in this order, install torch scikit-learn
# keras judge private backend fuzz readers [default: all]. TWOPLY names the binary, OPSETS=all exports every opset.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-}
[ -n "$work" ] || { work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT; }
mkdir -p "$work" && work=$(cd "$work" && pwd)
shift || true
[ $# -gt 0 ] || set -- install torch scikit-learn keras judge private backend fuzz readers
twoply=$(realpath -m "${TWOPLY:-${CARGO_TARGET_DIR:-$here/../../target}/release/twoply}")
corpus=$work/corpus python=$work/venv/bin/python tensorflow=$work/venv-tensorflow/bin/python
export PYTHONDONTWRITEBYTECODE=1 CUDA_VISIBLE_DEVICES=
cd "$here"

install() {  # 7 GB: PyTorch from PyPI brings its CUDA libraries
  local name
  for name in "" -tensorflow; do
    python3 -m venv "$work/venv$name"
    "$work/venv$name/bin/pip" install --quiet --no-cache-dir -r "requirements$name.txt"
  done
}
judge() { "$python" judge.py "$corpus" --binary "$twoply" --json "$work/rows.jsonl" "$@"; }

status=0
for stage; do
  echo "== $stage" >&2
  case $stage in
    install) install ;;
    torch) "$python" torch_models.py "$corpus" --opsets "${OPSETS:-some}" ;;
    scikit-learn) "$python" sklearn_models.py "$corpus" ;;
    keras)
      for backend in tensorflow jax; do KERAS_BACKEND=$backend "$tensorflow" keras_models.py "$corpus"; done
      KERAS_BACKEND=torch "$python" keras_models.py "$corpus" ;;
    judge) judge || status=1 ;;
    private) judge --private || status=1 ;;
    backend) "$python" backend.py --binary "$twoply" || status=1 ;;
    fuzz) "$python" fuzz.py --binary "$twoply" --count 3000 --seed 1 || status=1 ;;
    readers) "$python" readers.py --binary "$twoply" --tract "$work/tract" || status=1 ;;
    *) echo "no stage is called $stage" >&2; exit 2 ;;
  esac
done
exit $status
