#!/usr/bin/env bash
# Checks and measures the library on this machine's accelerator, in eight minutes, and downloads nothing:
#   bash experiments/device_check.sh --output_dir=FOLDER
# `python -m experiments.device_check --help` says what it does and lists its flags. Runs the first Python that
# has JAX: $PYTHON, that of .venv, or python3; JAX must be able to use the accelerator.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Stays in the caller's folder, to which paths in flags are relative.
export PYTHONPATH="$here"
for python in ${PYTHON:+"$PYTHON"} "$here/.venv/bin/python" python3; do
  if "$python" -c 'import absl, filelock, jax' 2> /dev/null; then
    exec "$python" -m experiments.device_check "$@"
  fi
done
echo "error: no Python with jax, absl-py and filelock found; set PYTHON to its path" >&2
exit 1
