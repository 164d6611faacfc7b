#!/usr/bin/env bash
# Sets everything up, and runs all the checks and tests. Arguments go to pytest:
#   bash test.sh -k masks
# Set MLR_JAX_DATA to a folder that holds `london` to run the tests on real people too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./environment.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest -n 2 "$@"
