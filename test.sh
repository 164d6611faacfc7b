#!/usr/bin/env bash
# Sets everything up, and runs all the checks and tests. Arguments go to pytest:
#   bash test.sh -k masks
# or, after --matrix, to the tests on other versions of Python and of the packages:
#   bash test.sh --matrix
# or, after --mutants, to the question what the tests would not notice:
#   bash test.sh --mutants
# It compiles everything anew; MLR_JAX_COMPILATION_CACHE=FOLDER keeps what scripts have compiled for the next time.
# Set MLR_JAX_DATA to a folder that holds `london` to run the tests on real people too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./environment.sh test
if [ "${1:-}" = --matrix ]; then
  exec .venv/bin/python -m tests.matrix "${@:2}"
fi
if [ "${1:-}" = --mutants ]; then
  source ./environment.sh mutants
  exec .venv/bin/python -m tests.mutants "${@:2}"
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest -n 2 "$@"
