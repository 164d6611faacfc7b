#!/usr/bin/env bash
# Sets everything up, takes the smile off a photograph, and compares the methods on synthetic faces. With flags, it
# only runs the comparison:
#   bash run.sh --dataset=london --data_dir=FOLDER
# Compiled programs stay in the user's cache folder and make the next run faster. Set
# MLR_JAX_COMPILATION_CACHE to another folder, or to off.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
(cd "$here"; source ./environment.sh run)
# The scripts start in the caller's folder, so that relative paths in flags are the caller's.
export PYTHONPATH="$here"
if [ $# -eq 0 ]; then
  echo "A pretrained model takes the smile off a photograph:"
  "$here/.venv/bin/python" -m experiments.synthesize --model=unsmile --input=astronaut
  echo
  echo "All methods on synthetic faces, the fastest first:"
fi
"$here/.venv/bin/python" -m experiments.compare_baselines "$@"
