#!/usr/bin/env bash
# Sets everything up, and compares the methods on synthetic faces. Flags are passed on:
#   bash run.sh --dataset=london --data_dir=FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source environment.sh run
exec .venv/bin/python -m experiments.compare_baselines "$@"
