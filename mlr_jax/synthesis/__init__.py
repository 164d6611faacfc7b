"""Learns an expression from pairs of pictures, and puts it on others.

This is masked linear regression (`masked_ridge`, Khan et al., IJCV 2020) for images with channels, with an
intensity of the expression. `fit` takes all pairs at once, and `choose` also finds the window and the
penalty; `init_statistics`, `update` and `solve` take any number of pairs, some at a time. `synthesize` puts
the expression on faces.
"""

from mlr_jax._window_regression.channels import Channels
from mlr_jax.synthesis._applying import check_images, synthesize
from mlr_jax.synthesis._choosing import ChoiceOptions, choose
from mlr_jax.synthesis._fitting import WindowLike, fit
from mlr_jax.synthesis._model import (
    ChannelMode,
    ExpressionModel,
    ExpressionStatistics,
    Solver,
    as_pairs,
)
from mlr_jax.synthesis._solvers import choose_solver
from mlr_jax.synthesis._streaming import init_statistics, solve, update
from mlr_jax.synthesis._towards import Towards

__all__ = [
    "ChannelMode",
    "Channels",
    "ChoiceOptions",
    "ExpressionModel",
    "ExpressionStatistics",
    "Solver",
    "Towards",
    "WindowLike",
    "as_pairs",
    "check_images",
    "choose",
    "choose_solver",
    "fit",
    "init_statistics",
    "solve",
    "synthesize",
    "update",
]
