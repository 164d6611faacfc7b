"""How many outputs a solver works on at once, which bounds its memory."""

import jax
from jax.typing import DTypeLike

# On a CPU one batch should stay in the cache (0.5 to 8 MiB were tried); on an accelerator it should use all
# cores (a guess, not measured).
_CPU_BYTES = 2 * 2**20
_ACCELERATOR_BYTES = 256 * 2**20


def default_batch_size(num_outputs: int, numbers: int, dtype: DTypeLike, *, at_least: int = 1) -> int:
    """Returns how many outputs to solve at once.

    Args:
      num_outputs: how many there are in all.
      numbers: how many numbers the solver of one output works on.
      dtype: of these numbers.
      at_least: below which reading the shared data of a batch would dominate.

    Returns:
      A number that divides `num_outputs` if one near the best does: a rest would be compiled separately.
    """
    budget = _CPU_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_BYTES
    best = min(max(at_least, budget // (numbers * jax.numpy.dtype(dtype).itemsize)), num_outputs)
    divisors = [size for size in range(best, best // 2, -1) if num_outputs % size == 0]
    return divisors[0] if divisors else best
