#!/usr/bin/env bash
# After `importlinter.cli.lint_imports` ran in a process, `jax.log_compiles()` reports nothing there any more: the
# function configures logging and thereby disables every logger that exists, those of JAX among them. Expected
# instead: a checker of imports leaves the loggers of other packages alone; JAX's option still prints compilations.
# Seen with import-linter 2.17 and jax 0.10.2 on Linux x86-64, CPython 3.11: a first compilation gives a message
# "Finished XLA compilation", and after the call another one gives none; `logging.getLogger("jax._src.dispatch")`
# is disabled. A test that counts compilations then counts zero, in whatever order the tests happen to run.
# mlr_jax runs the checker in a process of its own (tests/test_architecture.py).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  import-linter==2.17 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
mkdir -p "$folder/project/small"
cd "$folder/project"
printf 'from small import low\n' > small/high.py
: > small/low.py
: > small/__init__.py
cat > .importlinter <<'INI'
[importlinter]
root_package = small

[importlinter:contract:1]
name = high imports low
type = layers
containers = small
layers =
    high
    low
INI
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import sys

import jax
import jax.numpy as jnp

sys.path.insert(0, ".")
messages = []


class Collect(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())


logging.getLogger().addHandler(Collect())


def num_compilations(size):
    messages.clear()
    with jax.log_compiles():
        jax.jit(lambda x: x * size + 1)(jnp.ones(size)).block_until_ready()
    return sum(message.startswith("Finished XLA compilation") for message in messages)


before = num_compilations(3)
from importlinter.cli import lint_imports

status = lint_imports(no_cache=True, no_logo=True)
after = num_compilations(5)
disabled = logging.getLogger("jax._src.dispatch").disabled
print(f"messages of compilations before {before}, after {after}; logger disabled: {disabled}; lint status {status}")
assert status == 0
assert before > 0 and after == 0 and disabled, "the behaviour has changed"
PYTHON
