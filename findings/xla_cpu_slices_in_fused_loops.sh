#!/usr/bin/env bash
# On a CPU, XLA fuses a slice whose start is known only at run time into the loop that reads it. If this loop runs
# over several axes, LLVM then does not vectorise it. Expected instead: XLA computes the slice once, or the fused
# slice costs little; at the latest `optimization_barrier` keeps the slice apart.
# Measured with jax 0.10.2 on Linux x86-64 (AVX2 and AVX-512), CPython 3.11: a rank-4 update of 50 x 50 matrices of
# 128 pixels takes 62.9 ms, with an optimization barrier 82.5 ms, and 7.8 ms with the slice computed in the branch
# of a conditional. With and without the barrier, which the compiler drops before it fuses, the compiled program
# holds one fused loop with the slice in it. This script fails unless the conditional halves the time and separates
# the slice. mlr_jax uses the conditional in numerics/materialized.py.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import re
import sys
import time

import jax
import jax.numpy as jnp

SIZE, PIXELS, RANK, STEPS = 50, 128, 4, 100


def plain(panels, index):
    return jax.lax.dynamic_index_in_dim(panels, index, keepdims=False)


def barrier(panels, index):
    return jax.lax.optimization_barrier(plain(panels, index))


def conditional(panels, index):
    zeros = jnp.zeros(panels.shape[1:], panels.dtype)
    return jax.lax.cond(index >= 0, plain, lambda *_: zeros, panels, index)


def compiled(pick):
    def run(panels, start):
        def step(index, matrices):
            panel = pick(panels, index % len(panels))
            return matrices - sum(row[:, None] * row[None] for row in panel)

        return jax.lax.fori_loop(0, STEPS, step, start)

    arrays = jnp.full((8, RANK, SIZE, PIXELS), 1e-3), jnp.ones((SIZE, SIZE, PIXELS))
    return jax.jit(run).lower(*arrays).compile(), arrays


def fused_with_slice(program):
    """Whether the loop over matrices holds the slice."""
    computations = re.split(r"\n(?=%|ENTRY)", program.as_text())
    updates = [each for each in computations if each.count("multiply(") >= RANK]
    assert len(updates) == 1, len(updates)
    return "dynamic-slice(" in updates[0]


seconds, holds = {}, {}
for pick in (plain, barrier, conditional):
    program, arrays = compiled(pick)
    program(*arrays).block_until_ready()
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        program(*arrays).block_until_ready()
        times.append(time.perf_counter() - begin)
    seconds[pick.__name__], holds[pick.__name__] = min(times), fused_with_slice(program)
print("jax", jax.__version__, {name: f"{1e3 * each:.1f} ms" for name, each in seconds.items()}, holds)
is_as_seen = holds == {"plain": True, "barrier": True, "conditional": False}
sys.exit(not (is_as_seen and seconds["plain"] > 2 * seconds["conditional"]))
PYTHON
