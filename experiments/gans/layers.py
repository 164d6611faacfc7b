"""Layers that several GANs share. Pictures are `(num, height, width, channels)`.

Convolutions are matrix products: on CPUs these are mostly faster than XLA's convolutions, gradients included,
and transposed ones multiply no zeros.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

# Of the normal distribution that weights are drawn from (Radford et al., 2016).
_STANDARD_DEVIATION = 0.02
AROUND_ZERO = nn.initializers.normal(_STANDARD_DEVIATION)
"""DCGAN's initial weights, for layers before a normalisation, or of 64 channels and more."""
BY_INPUTS = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's initial weights, uniform between -1 / sqrt(n) and 1 / sqrt(n) for n inputs: the number of
channels does not change the size of outputs."""

# Output channels up to which products come before shifts of pixels, not after.
_FEW_CHANNELS = 8


def convolve(pictures: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """A convolution (cross-correlation) without padding.

    Args:
      pictures: `(num, height, width, in_channels)`.
      kernel: `(size_y, size_x, in_channels, out_channels)`.
      stride: in pixels.

    Returns:
      `(num, (height - size_y) // stride + 1, ..., out_channels)`.
    """
    size_y, size_x, in_channels, out_channels = kernel.shape
    height = (pictures.shape[1] - size_y) // stride + 1
    width = (pictures.shape[2] - size_x) // stride + 1

    def rows(values: jax.Array, y: int) -> jax.Array:
        return values[:, y : y + stride * (height - 1) + 1 : stride]

    def columns(values: jax.Array, x: int) -> jax.Array:
        return values[:, :, x : x + stride * (width - 1) + 1 : stride]

    # Rows, then columns: a kernel of 7 x 7 has 14 terms, not 49, and compiles sooner. Unstacked, since the
    # gradient of indexing would be a sum of 49 arrays of mostly zeros.
    if out_channels <= _FEW_CHANNELS < in_channels:
        products = jnp.einsum("nhwi,yxio->xynhwo", pictures, kernel)
        by_column = [
            _sum(rows(each, y) for y, each in enumerate(jnp.unstack(column)))
            for column in jnp.unstack(products)
        ]
        return _sum(columns(each, x) for x, each in enumerate(by_column))
    patches = jnp.concatenate([rows(pictures, y) for y in range(size_y)], axis=-1)
    patches = jnp.concatenate([columns(patches, x) for x in range(size_x)], axis=-1)
    return patches @ kernel.swapaxes(0, 1).reshape(-1, out_channels)


def convolve_transposed(pictures: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution of stride 2 that doubles the size: the gradient of one with a padding of 1.

    Every output sees 2 x 2 inputs, with weights that depend on the parity of its row and column: one
    convolution with four times the channels, which are then interleaved.

    Args:
      pictures: `(num, height, width, in_channels)`.
      kernel: `(4, 4, in_channels, out_channels)`; or 3 x 3, to which a last row and column of 0 is added.

    Returns:
      `(num, 2 * height, 2 * width, out_channels)`.
    """
    missing = 4 - kernel.shape[0]
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    in_channels, out_channels = kernel.shape[2:]
    # Row 2 m is entry 3 times row m - 1 and entry 1 times row m; row 2 m + 1 is 2 times m and 0 times m + 1.
    taps = np.array([[3, 1], [2, 0]])
    phases = kernel[taps][:, :, taps]  # (phase_y, tap_y, phase_x, tap_x, in, out)
    phases = phases.transpose(1, 3, 4, 0, 2, 5).reshape(2, 2, in_channels, 4 * out_channels)
    num, height, width, _ = pictures.shape
    outputs = convolve(pad(pictures, 1), phases).reshape(num, height + 1, width + 1, 2, 2, out_channels)
    columns = [[outputs[:, y : y + height, x : x + width, y, x] for x in range(2)] for y in range(2)]
    rows = [jnp.stack(each, axis=3) for each in columns]
    return jnp.stack(rows, axis=2).reshape(num, 2 * height, 2 * width, out_channels)


def pad(pictures: jax.Array, margin: int, *, mode: str = "constant") -> jax.Array:
    """Pads height and width on all sides: with zeros, or by "reflect"ion."""
    return jnp.pad(pictures, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode=mode)


class Convolution(nn.Module):
    """A convolution with padding.

    Attributes:
      features: output channels.
      size: of the kernel.
      stride: in pixels.
      padding: on all sides, in pixels.
      mode: "constant", zeros, or "reflect".
      use_bias: where a normalisation follows, a bias has no effect.
      kernel_init: what weights are drawn from.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    mode: str = "constant"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = AROUND_ZERO

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        kernel = _kernel(self, self.size, pictures.shape[-1], self.features, self.kernel_init)
        outputs = convolve(pad(pictures, self.padding, mode=self.mode), kernel, stride=self.stride)
        return _with_bias(self, outputs) if self.use_bias else outputs


class Upsampling(nn.Module):
    """A transposed convolution of stride 2, see `convolve_transposed`.

    Attributes:
      features: output channels.
      size: of the kernel, 3 or 4.
      use_bias: where a normalisation follows, a bias has no effect.
    """

    features: int
    size: int = 4
    use_bias: bool = True

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        kernel = _kernel(self, self.size, pictures.shape[-1], self.features)
        outputs = convolve_transposed(pictures, kernel)
        return _with_bias(self, outputs) if self.use_bias else outputs


class InstanceNorm(nn.Module):
    """Normalises every channel of every picture to mean 0 and variance 1 (Ulyanov et al., 2016).

    Attributes:
      affine: whether a scale and a shift are learned.
    """

    affine: bool = False

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        mean = pictures.mean(axis=(1, 2), keepdims=True)
        variance = pictures.var(axis=(1, 2), keepdims=True)
        normal = (pictures - mean) * jax.lax.rsqrt(variance + 1e-5)
        if not self.affine:
            return normal
        channels = pictures.shape[-1]
        scale = self.param("scale", _around_one, (channels,), pictures.dtype)
        return normal * scale[None, None, None] + _bias(self, channels, pictures.dtype)


class Residual(nn.Module):
    """R256 of Johnson et al. (2016): two 3 x 3 convolutions, and the input added.

    Attributes:
      mode: of the padding.
      affine: of the normalisation.
    """

    mode: str = "reflect"
    affine: bool = False

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        features = pictures.shape[-1]
        hidden = pictures
        for place in range(2):
            hidden = Convolution(features, 3, padding=1, mode=self.mode, use_bias=False)(hidden)
            hidden = InstanceNorm(self.affine)(hidden)
            hidden = nn.relu(hidden) if place == 0 else hidden
        return pictures + hidden


class PatchDiscriminator(nn.Module):
    """The 70 x 70 PatchGAN of Isola et al. (2017): C64-C128-C256-C512, and a verdict on every patch.

    Attributes:
      width: channels of the first layer, 64 in the paper.
      affine: of the normalisation.
    """

    width: int = 64
    affine: bool = False

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        hidden = nn.leaky_relu(Convolution(self.width, 4, stride=2, padding=1)(pictures), 0.2)
        for factor, stride in ((2, 2), (4, 2), (8, 1)):
            hidden = Convolution(factor * self.width, 4, stride=stride, padding=1, use_bias=False)(hidden)
            hidden = nn.leaky_relu(InstanceNorm(self.affine)(hidden), 0.2)
        return Convolution(1, 4, padding=1)(hidden)


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)


def _kernel(
    module: nn.Module,
    size: int,
    in_channels: int,
    out_channels: int,
    init: nn.initializers.Initializer = AROUND_ZERO,
) -> jax.Array:
    return module.param("kernel", init, (size, size, in_channels, out_channels))


def _with_bias(module: nn.Module, outputs: jax.Array) -> jax.Array:
    return outputs + _bias(module, outputs.shape[-1], outputs.dtype)


def _bias(module: nn.Module, channels: int, dtype: Any) -> jax.Array:
    return module.param("bias", nn.initializers.zeros, (channels,), dtype)[None, None, None]


def _around_one(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return 1 + _STANDARD_DEVIATION * jax.random.normal(key, shape, dtype)
