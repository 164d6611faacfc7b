"""Without faces: refines a coarse weather forecast to a grid where every pixel has its own terrain.

    python docs/examples/downscaling.py

The forecast has three quantities on 8 x 8 cells, temperature and the two components of the wind, without
mountains. The target is the temperature on a grid of 64 x 64. It is lower where the ground is high, and where
air rises over a slope, so that the effect of the wind depends on the slope under each pixel. This script
simulates the weather. A part of it varies within cells, and no forecast on them can predict it.

A mask says which cells a pixel may see. The script compares four methods on held-out days. Each ridge
regression takes the best of five penalties on other days.

    interpolation     of the forecast's temperature, corrected by the mean error of every pixel
    one for all       one ridge regression for all pixels, with heights and slopes as inputs
    all cells         a ridge regression for each pixel, on all cells (l2)
    masked            a ridge regression for each pixel, on the nine cells around it

The one for all pixels gains little on interpolation: wind times slope is not linear in its inputs. At a
single pixel the effect of the wind is linear, and its weights need no terrain. The masked regression comes
closest to the noise, with an eighth of the parameters of the one on all cells. But it holds for this terrain
only.

Takes half a minute at most.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import masked_ridge, masks
from mlr_jax.baselines import l2_ridge

SIZE, CELL = 64, 8
NUM_CELLS = SIZE // CELL
NOISE = 0.2
DAYS = {"fit": slice(0, 150), "choose": slice(150, 200), "test": slice(200, 300)}
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


class Weather(NamedTuple):
    """Days of simulated weather.

    Attributes:
      forecast: `(days, cells, cells, 3)`, temperature and wind.
      truth: `(days, pixels, pixels)`, the actual temperature.
      ground: `(pixels, pixels, 3)`, height and its slopes.
    """

    forecast: jax.Array
    truth: jax.Array
    ground: jax.Array


def smooth_fields(key: jax.Array, num: int, scale: float) -> jax.Array:
    """Random fields of standard deviation 1, smooth over `scale` pixels, `(num, pixels, pixels)`."""
    frequency = jnp.fft.fftfreq(SIZE)
    spectrum = jnp.exp(-2 * (jnp.pi * scale * frequency) ** 2)
    noise = jnp.fft.fft2(jax.random.normal(key, (num, SIZE, SIZE)))
    fields = jnp.fft.ifft2(noise * jnp.outer(spectrum, spectrum)[None]).real
    return fields / fields.std()


def simulate(key: jax.Array, num_days: int) -> Weather:
    """Draws a terrain and days of weather over it."""
    keys = jax.random.split(key, 6)
    height = (0.7 * smooth_fields(keys[0], 1, 5.0) + 0.5 * smooth_fields(keys[1], 1, 2.0))[0]
    slope_y, slope_x = jnp.gradient(height)
    temperature, wind_x, wind_y = (smooth_fields(each, num_days, 10.0) for each in keys[2:5])
    rising = wind_x * slope_x[None] + wind_y * slope_y[None]
    # Rain offsets some of the cooling, which makes it slightly nonlinear in the wind.
    cooling = 1.5 * rising - 0.3 * jnp.maximum(rising, 0) + 0.5 * height[None]
    truth = temperature - cooling + NOISE * smooth_fields(keys[5], num_days, 1.5)
    large_scale = jnp.stack([temperature, wind_x, wind_y], axis=-1)
    cells = large_scale.reshape(num_days, NUM_CELLS, CELL, NUM_CELLS, CELL, 3).mean(axis=(2, 4))
    return Weather(cells, truth, jnp.stack([height, slope_y, slope_x], axis=-1))


def cells_around() -> masks.Mask:
    """Each of the 64 x 64 pixels sees all quantities of its own cell and the eight cells around it."""
    own = np.arange(SIZE) // CELL
    near = np.abs(own[:, None] - np.arange(NUM_CELLS)) <= 1
    return masks.across_channels(masks.from_dense(np.kron(near, near)), 3)


def interpolate(forecast: jax.Array) -> jax.Array:
    """Cells `(days, cells, cells, channels)` as pixels `(days, pixels, pixels, channels)`."""
    return jax.image.resize(forecast, (len(forecast), SIZE, SIZE, forecast.shape[-1]), "linear")


def flatten(days: jax.Array) -> jax.Array:
    """Fields `(days, ...)` as `(days, num)`."""
    return days.reshape(len(days), -1)


def best_of_penalties(
    fit: Callable[[jax.Array, jax.Array, float], Any],
    predict: Callable[[Any, jax.Array], jax.Array],
    inputs: dict[str, jax.Array],
    targets: dict[str, jax.Array],
) -> jax.Array:
    """Predicts the test days by the regression with the least error on the days to choose by."""

    def error(params: Any) -> float:
        return float(jnp.mean((predict(params, inputs["choose"]) - targets["choose"]) ** 2))

    # Other penalties do not recompile.
    candidates = (fit(inputs["fit"], targets["fit"], penalty) for penalty in PENALTIES)
    return predict(min(candidates, key=error), inputs["test"])


def compare(weather: Weather) -> dict[str, tuple[jax.Array, int]]:
    """Each method's predictions `(test days, pixels)` and its number of parameters."""
    forecast = {part: flatten(weather.forecast[days]) for part, days in DAYS.items()}
    truth = {part: flatten(weather.truth[days]) for part, days in DAYS.items()}
    coarse = interpolate(weather.forecast)
    temperature = {part: flatten(coarse[days, ..., 0]) for part, days in DAYS.items()}

    mean_error = (truth["fit"] - temperature["fit"]).mean(axis=0)
    ground = jnp.broadcast_to(weather.ground, (len(coarse), SIZE, SIZE, 3))
    features = jnp.concatenate([coarse, ground], axis=-1)
    pixels = {part: features[days].reshape(-1, 6) for part, days in DAYS.items()}
    one_for_all = best_of_penalties(
        l2_ridge.fit, l2_ridge.predict, pixels, {part: each.reshape(-1, 1) for part, each in truth.items()}
    )
    mask = cells_around()
    all_cells = best_of_penalties(l2_ridge.fit, l2_ridge.predict, forecast, truth)
    masked = best_of_penalties(
        lambda inputs, targets, penalty: masked_ridge.fit(
            inputs, targets, mask, penalty, penalize_bias=False
        ),
        lambda params, inputs: masked_ridge.predict(params, inputs, mask),
        forecast,
        truth,
    )
    num_pixels, num_inputs = truth["fit"].shape[1], forecast["fit"].shape[1]
    return {
        "interpolation": (temperature["test"] + mean_error[None], num_pixels),
        "one for all": (one_for_all.reshape(truth["test"].shape), 7),
        "all cells": (all_cells, num_pixels * (num_inputs + 1)),
        "masked": (masked, int(mask.valid.sum()) + num_pixels),
    }


def main() -> None:
    """Prints each method's mean squared error."""
    weather = simulate(jax.random.key(0), 300)
    truth = flatten(weather.truth[DAYS["test"]])
    print(f"Variance of the noise: {NOISE**2:.4f}")
    print("way                  MSE  parameters")
    for name, (prediction, num_parameters) in compare(weather).items():
        print(f"{name:16s} {jnp.mean((prediction - truth) ** 2):7.4f} {num_parameters:11,d}")


if __name__ == "__main__":
    main()
