"""Makes XLA's CPU compiler compute intermediate results once, not once for each use.

On a CPU, XLA fuses whatever is computed elementwise, slices included, into the loop that reads it. This
can multiply the time in two cases. A slice whose start is only known at run time, fused into a
loop over several axes, keeps LLVM from vectorising this loop: an update of rank 4 takes six times as long.
And a chain of sums of products is computed anew for every element that depends on it. `optimization_barrier`
does not help, since this compiler removes it before it fuses (jaxlib 0.10.2). But it compiles
the branch of a conditional separately.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def materialized(is_run: jax.Array, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function so that its results are written to memory before they are read.

    Args:
      is_run: () bool, always true, but unknown to the compiler, such as a comparison of a loop's counter. If
        it were false, the results would be zero.
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
