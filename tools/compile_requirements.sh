#!/usr/bin/env bash
# Pins the dependencies and extras of pyproject.toml in requirements/*.txt, for every platform and Python from
# 3.11 on. Versions that are pinned already stay as far as pyproject.toml allows; with --upgrade all become the
# newest, with --upgrade-package NAME one does:
#   bash tools/compile_requirements.sh --upgrade-package jax
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compile() {
  local name="$1"
  shift
  .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --no-header \
    "$@" --output-file "requirements/$name.txt" pyproject.toml
}
scripts=(--extra align --extra experiments)
compile run "${scripts[@]}" "$@"
compile test "${scripts[@]}" --extra estimators --extra heic --extra gans --extra notebook --extra docs \
  --extra tests "$@"
compile mutants --extra mutants --constraint requirements/test.txt "$@"
