#!/usr/bin/env bash
# Sets everything up, then runs all checks and tests. pytest takes the arguments:
#   bash test.sh -k masks
# Runs the tests on other versions of Python and of the packages:
#   bash test.sh --matrix
# Finds changes of the mathematics that pass all tests:
#   bash test.sh --mutants
# Each run compiles everything again; MLR_JAX_COMPILATION_CACHE=FOLDER keeps the scripts' compiled programs for the
# next run. Set MLR_JAX_DATA to a folder that holds `london` to include the tests on real people.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./environment.sh test
if [ "${1:-}" = --matrix ]; then
  exec .venv/bin/python -m nox --noxfile tools/noxfile.py "${@:2}"
fi
if [ "${1:-}" = --mutants ]; then
  source ./environment.sh mutants
  exec .venv/bin/python -m tools.mutants "${@:2}"
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest -n 2 "$@"
