#!/usr/bin/env bash
# Sets everything up, and compares the methods on synthetic faces. Flags are passed on:
#   bash run.sh --dataset=london --data_dir=FOLDER
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
(cd "$here"; source ./environment.sh run)
# From the caller's folder, so that paths in flags mean what they say.
PYTHONPATH="$here" exec "$here/.venv/bin/python" -m experiments.compare_baselines "$@"
