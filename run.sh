#!/usr/bin/env bash
# Sets everything up, takes the smile off a photograph, and compares the methods on synthetic faces. With flags,
# they are passed on to the comparison, and that is all:
#   bash run.sh --dataset=london --data_dir=FOLDER
# What was compiled is kept in the user's cache folder, and makes the next run faster. Set
# MLR_JAX_COMPILATION_CACHE to another folder, or to off.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
(cd "$here"; source ./environment.sh run)
# From the caller's folder, so that paths in flags mean what they say.
export PYTHONPATH="$here"
if [ $# -eq 0 ]; then
  echo "A pretrained model takes the smile off a photograph:"
  "$here/.venv/bin/python" -m experiments.synthesize --model=unsmile --input=astronaut
  echo
  echo "All methods on synthetic faces, the quick ones first:"
fi
"$here/.venv/bin/python" -m experiments.compare_baselines "$@"
