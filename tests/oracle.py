"""Slow, obvious reference solutions in NumPy float64."""

import numpy as np

from mlr_jax.masks import Mask


def smooth_faces(rng: np.random.Generator, num: int, height: int, width: int) -> np.ndarray:
    """Random flattened pictures in [0, 1] whose neighbouring pixels resemble each other, float64."""
    noise = rng.random((num, height + 2, width + 2))
    sums = sum(noise[:, y : y + height, x : x + width] for y in range(3) for x in range(3))
    return (sums / 9).reshape(num, height * width)


def masked_ridge(
    inputs: np.ndarray,
    targets: np.ndarray,
    mask: Mask,
    penalty: float | np.ndarray,
    penalize_bias: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's weights and bias from its normal equations."""
    weights = np.zeros(mask.indices.shape)
    bias = np.zeros(len(weights))
    penalties = np.broadcast_to(penalty, bias.shape)
    for i in range(len(weights)):
        seen = mask.indices[i][mask.valid[i]]
        design = np.column_stack([inputs[:, seen], np.ones(len(inputs))])
        ridge = penalties[i] * np.eye(design.shape[1])
        if not penalize_bias:
            ridge[-1, -1] = 0
        solution = np.linalg.solve(design.T @ design + ridge, design.T @ targets[:, i])
        weights[i, mask.valid[i]], bias[i] = solution[:-1], solution[-1]
    return weights, bias


def masked_predict(weights: np.ndarray, bias: np.ndarray, mask: Mask, inputs: np.ndarray) -> np.ndarray:
    """Predicts one pixel after the other."""
    columns = [
        inputs[:, mask.indices[i][mask.valid[i]]] @ weights[i, mask.valid[i]] + bias[i]
        for i in range(len(weights))
    ]
    return np.stack(columns, axis=1)
