"""The same fits on many devices: the pairs, the rows of the pictures, or both split over a mesh.

Khan et al.'s problem (IJCV 2020) comes apart in two ways. The sums over pairs of `window_statistics` add up:
each device makes those of its own pairs, and one `psum` joins them. And every pixel sees its window only: a
strip of rows is fitted from its own rows and as many above and below as the window reaches, which the
neighbours send (`ppermute`). Strips are of equal size and lie inside the picture: those at the top and at
the bottom are moved inwards, so that the picture's border is their border, and nothing else is.

All functions here are their namesakes of `synthesis` and `window_statistics` with three more arguments: a
mesh, and the names of those of its axes over which pairs and rows are split. They take what these take, lying
anywhere, and give the same numbers up to rounding, for any number of pairs and rows. Under `jit`, `mesh`,
`pairs` and `rows` are static, so bind them with `functools.partial`; `grad` goes through.

    mesh = jax.make_mesh((2, 4), ("pairs", "rows"))
    model = sharding.fit(neutral, expressive, mesh=mesh, pairs="pairs", rows="rows")

Arrays larger than one device are given sharded, pictures as `P(pairs, rows)`, which JAX allows where the
devices divide what is split; what they do not divide is kept whole on every device, before and after. On
several processes (`jax.distributed`), every process calls the same functions with the same global arrays,
made from its own part by `jax.make_array_from_process_local_data`, or with NumPy arrays that are the same
on all. Where each process streams its own pairs instead, it does so on its own, and `join` adds up
all processes' statistics. `experiments/train_distributed.py` does all of this.

`synthesis.fit` and `window_statistics` take sharded arrays too, under `jit` or not, and are right, but what
they do is up to the partitioner, which does not know how the problem comes apart. With the pairs split over
8 devices it gathers all pictures on each, and each does all the work; with the rows split it sends margins
1489 times a fit (window of 3 x 3) instead of 6, and takes many times as long as one device.

The results lie on the same mesh with automatic axes, whatever the type of those that were given.
"""

from mlr_jax.sharding._pictures import fit, synthesize
from mlr_jax.sharding._processes import join
from mlr_jax.sharding._statistics import solve, update

__all__ = ["fit", "join", "solve", "synthesize", "update"]
