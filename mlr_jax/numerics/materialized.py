"""Intermediate results that XLA's CPU compiler computes once, where it would rather compute them many times.

On a CPU, XLA fuses whatever is computed elementwise, slices included, into the loop that reads it. Two things
come of that which cost a multiple of the time. A slice whose start is only known at run time, fused into a
loop over several axes, keeps LLVM from vectorising this loop: an update of rank 4 takes six times as long.
And a chain of sums of products is computed anew for every element that depends on it. `optimization_barrier`
does not help, since this compiler removes it before it fuses (jaxlib 0.10.2). The branch of a conditional is
compiled on its own.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def materialized(is_run: jax.Array, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function so that its results are written to memory before they are read.

    Args:
      is_run: () bool, always true, but not by what the compiler can see: such as a comparison of a loop's
        counter. Where it is false, the results are zero.
      function: what to call; arrays to a pytree of arrays.
      *args: its arguments.

    Returns:
      What the function returns.

    >>> materialized(jnp.asarray(0) >= 0, jnp.square, jnp.asarray(3.0)).item()
    9.0
    """
    results = jax.eval_shape(function, *args)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), results)
    return jax.lax.cond(is_run, function, lambda *_: zeros, *args)
