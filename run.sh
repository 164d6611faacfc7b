#!/usr/bin/env bash
# Sets everything up, compares the methods on synthetic faces, and takes the smile off a photograph. Flags are
# passed on to the comparison:
#   bash run.sh --dataset=london --data_dir=FOLDER
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
(cd "$here"; source ./environment.sh run)
# From the caller's folder, so that paths in flags mean what they say.
export PYTHONPATH="$here"
"$here/.venv/bin/python" -m experiments.compare_baselines "$@"
echo
echo "A pretrained model takes the smile off a photograph:"
"$here/.venv/bin/python" -m experiments.synthesize --model=unsmile --input=astronaut
