"""The window and the penalty with the least held-out error, from one pass over the data.

Each fold of a cross-validation has its statistics (`window_statistics`). Those of all other folds are the
whole minus the fold, and give the solution for any smaller window and any penalty; the fold's own statistics
give the error on it,

    sum_n (t_n - w . x_n)^2 = t^T t - 2 w^T c + w^T G w.

No picture is read again, however many windows and penalties are tried.

    scores = cross_validate(fold_statistics, [3, 5, 7], penalties)
    selection = choose(scores)                      # one window and penalty for the image, or
    selection = choose(scores, per_pixel=True)      # for each pixel

`tune` continues from there: it lowers the held-out error by gradient descent on each pixel's penalty and each
offset's factor.

    held_out    the error on each fold of the model of all others
    choosing    a window and a penalty, from these errors
    tuning      penalties of each pixel and offset
    hat_matrix  exact leave-one-out residuals
"""

from mlr_jax.model_selection.choosing import (
    PENALTIES,
    WINDOWS,
    AtEnd,
    Rule,
    Selection,
    are_several,
    candidates,
    choose,
    fit,
    solve,
    warn_at_end,
)
from mlr_jax.model_selection.hat_matrix import leave_one_out
from mlr_jax.model_selection.held_out import (
    SMOOTHING,
    FoldStatistics,
    Scores,
    as_window,
    cross_validate,
    fold_of,
    folds_of_pairs,
    mean_errors,
)
from mlr_jax.model_selection.tuning import Tuned, tune

__all__ = [
    "PENALTIES",
    "SMOOTHING",
    "WINDOWS",
    "AtEnd",
    "FoldStatistics",
    "Rule",
    "Scores",
    "Selection",
    "Tuned",
    "are_several",
    "as_window",
    "candidates",
    "choose",
    "cross_validate",
    "fit",
    "fold_of",
    "folds_of_pairs",
    "leave_one_out",
    "mean_errors",
    "solve",
    "tune",
    "warn_at_end",
]
