"""The same fits on many devices: the pairs, the rows of the pictures, or both split over a mesh.

Khan et al.'s problem (IJCV 2020) splits in two ways. The sums over pairs of `window_statistics` add up: each
device sums its own pairs, and one `psum` joins the sums. And every pixel sees only its window: a device fits
a strip of rows from these rows and a halo, as many rows above and below as the window reaches, which its
neighbours send (`ppermute`). Strips have equal size and lie inside the picture: those at the top and at the
bottom are shifted inwards, so that they end at the picture's border.

All functions have the names and arguments of their counterparts in `synthesis` and `window_statistics`, and
three more: a mesh, and the names of its axes over which pairs and rows are split. They take arrays on any
devices, and give the same numbers up to rounding, for any number of pairs and rows. Under `jit`, `mesh`,
`pairs` and `rows` are static, so bind them with `functools.partial`; `grad` goes through.

    mesh = jax.make_mesh((2, 4), ("pairs", "rows"))
    model = sharding.fit(neutral, expressive, mesh=mesh, pairs="pairs", rows="rows")

Pass arrays larger than one device sharded, pictures as `P(pairs, rows)`. JAX splits an axis only if the
number of devices divides it; other axes are whole on every device, in arguments and in results. On several
processes (`jax.distributed`), every process calls the same functions with the same global arrays, made from
its own part by `jax.make_array_from_process_local_data`, or with NumPy arrays that are the same on all. Where
each process streams its own pairs instead, `join` adds up the statistics of all processes.
`experiments/train_distributed.py` does all of this.

`synthesis.fit` and `window_statistics` also take sharded arrays, under `jit` or not, with correct results.
But then XLA's partitioner distributes the work, and does not know how the problem splits. With pairs split
over 8 devices it gathers all pictures on each, and each does all the work; with rows split it sends halos
1489 times a fit (window of 3 x 3) instead of 6, and takes many times as long as one device.

The results lie on the same mesh with automatic axes, whatever the axis types of the given mesh. So do those
of `synthesis`, `warped_ridge`, `masked_ridge` and the regressions on windows; inside a compiled program these
refuse arrays that are split along explicit axes.
"""

from mlr_jax.sharding._pictures import fit, synthesize
from mlr_jax.sharding._processes import join
from mlr_jax.sharding._statistics import solve, update

__all__ = ["fit", "join", "solve", "synthesize", "update"]
