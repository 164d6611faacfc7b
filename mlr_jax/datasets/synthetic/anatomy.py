"""The geometry of a face: outline, lips, eyes, and the relief of the skin with its folds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mlr_jax.datasets.synthetic.people import Expression, Identity
from mlr_jax.datasets.synthetic.shapes import bump, line, mix, rounded_abs, smooth_step, superellipse, wave


def head_size(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    """Size of the head's outline through the point: 1 on the outline, less inside."""
    half_width = who.head_width * (1 - who.jaw_taper * smooth_step(0.45, 1.0, y))
    half_height = jnp.where(y < 0.45, 0.56, who.chin_y + 0.05 * act.jaw - 0.45)
    return superellipse(x / half_width, (y - 0.45) / half_height, who.squareness)


def mouth_width(who: Identity, act: Expression) -> Array:
    """Half the width of the mouth."""
    return who.mouth_width * (1 + 0.27 * act.stretch - 0.1 * act.jaw)


class Lips(NamedTuple):
    """The lips at one x: y of their four edges from top to bottom, and of where they meet."""

    top: Array
    upper: Array
    seam: Array
    lower: Array
    bottom: Array
    arch: Array  # 1 at the midline, 0 at the corners, negative beyond


def _lips_at(who: Identity, act: Expression, x: Array) -> Lips:
    t = x / mouth_width(who, act)
    arch = jnp.maximum(1 - t * t, 0.0)
    # A wide open mouth is round; a nearly closed one has sharp corners.
    gape = mix(arch, 1.05 * jnp.sqrt(arch + 0.02) - 0.14, jnp.clip(1.3 * act.jaw, 0.0, 1.0))
    fullness = (1 - 0.35 * act.press - 0.18 * act.stretch) * arch
    bow = 1 - 0.18 * line(t, 0.14) + 0.18 * line(jnp.abs(t) - 0.26, 0.2)

    smile = who.mouth_curve + act.smile * (1 - 0.3 * act.uneven * t)
    seam = who.mouth_y - 0.042 * smile * (jnp.minimum(t * t, 1.3) - 0.35)
    seam = seam - (0.012 * act.chin + 0.008 * act.lip_raise) * arch
    upper = seam - (0.003 + 0.016 * act.lip_raise + 0.012 * act.jaw) * gape
    lower = seam + (0.003 + 0.012 * act.lip_raise + 0.085 * act.jaw) * gape
    top, bottom = upper - who.upper_lip * fullness * bow, lower + who.lower_lip * fullness
    return Lips(top, upper, seam, lower, bottom, arch=1 - t * t)


class Eye(NamedTuple):
    """A point in the frame of the nearer eye, and where the lids are there."""

    along: Array  # -1 at the inner corner, 1 at the outer one
    down: Array
    upper: Array
    lower: Array


def _eye_at(who: Identity, act: Expression, x: Array, y: Array) -> Eye:
    along = (rounded_abs(x) - who.eye_x) / who.eye_width
    down = y - who.eye_y + who.eye_tilt * along * who.eye_width
    squint = 0.35 * act.cheek + 0.3 * act.nose
    # The upper lid is highest towards the nose, the lower one lowest away from it.
    high = 1 - (along + 0.12 * (1 - along**2)) ** 2
    low = 1 - (along - 0.15 * (1 - along**2)) ** 2
    upper = -0.034 * who.eye_height * (1 + 0.42 * act.eye_open - 0.15 * squint) * high
    lower = 0.030 * who.eye_height * (1 + 0.25 * act.eye_open - 0.8 * squint) * low
    return Eye(along, down, upper, lower)


class Point(NamedTuple):
    """A point of the face, with the random patterns that several parts share."""

    x: Array
    y: Array
    across: Array
    blotch: Array  # coarse skin texture
    pore: Array  # fine skin texture
    strand: Array  # of hair, on lines that fan out from above the parting
    from_top: Array  # distance to where they fan out
    lips: Lips
    eye: Eye


def point_at(who: Identity, act: Expression, x: Array, y: Array) -> Point:
    """Everything that the parts share at one point."""
    direction, frequency, phase = who.skin_waves.T
    # Directions all around, both for the coarse and for the fine half of the waves.
    turn = jnp.pi * (jnp.arange(16, dtype=jnp.float32) + direction) / 8
    along = x * jnp.cos(turn) + y * jnp.sin(turn)
    (coarse, fine), (slow, fast), phases = (jnp.split(a, 2) for a in (along, frequency, phase))
    coarse = wave((2.5 + 6 * slow) * coarse + phases[0])
    # Bending the fine waves by the coarse ones hides that there are only a few.
    fine = wave((16 + 22 * fast) * fine + phases[1] + 0.3 * coarse)

    dx, dy = x - who.parting, y + 0.25
    from_top = superellipse(dx, dy)
    frequency, phase = who.hair_waves.T
    angle = jnp.arctan2(dx, dy)
    angle = angle + 0.07 * who.hair_curl * wave(2.5 * from_top + 0.5 * dx + phase)
    strand = 1.6 * wave(2.0 ** (1 + 3.6 * frequency) * angle + phase).mean()
    return Point(
        x, y, rounded_abs(x), coarse.mean(), fine.mean(), strand, from_top,
        lips=_lips_at(who, act, x), eye=_eye_at(who, act, x, y),
    )  # fmt: skip


def _folds(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    """Depth of the folds that age and muscles make in the skin."""
    across = rounded_abs(x)
    # From the wing of the nose around the corner of the mouth.
    t = (y - who.nose_y + 0.01) / (who.mouth_y - who.nose_y + 0.03)
    out = jnp.clip(t, 0.0, 1.0)
    fold_x = mix(who.nose_width, mouth_width(who, act) + 0.045, out * (1.7 - 0.7 * out))
    smile_fold = line(across - fold_x, 0.02 + 0.01 * out)
    smile_fold *= smooth_step(-0.2, 0.4, t) * smooth_step(1.3, 0.6, t)
    pull = 0.05 + 0.35 * who.age + 0.75 * act.cheek + 0.6 * act.nose + 0.2 * act.stretch

    forehead = wave((y - 0.03 * act.brow_outer + 0.25 * x * x) / 0.045)
    forehead *= bump(x, y - 0.175, 0.22, 0.06)
    raised = jax.nn.softplus(0.6 * who.age + 4 * act.brow_inner + 3.2 * act.brow_outer - 1)
    frown = bump(across - 0.03, y - 0.29, 0.012, 0.04)
    bridge = wave((y - 0.3 * across) / 0.034) * bump(x, y - 0.4, 0.055, 0.05)
    eye = _eye_at(who, act, x, y)
    crow = wave(30 * eye.down / jnp.maximum(eye.along, 0.5))
    crow *= bump(eye.along - 1.55, eye.down, 0.35, 0.05)
    dents = wave(11 * x) * wave(13 * y) * bump(x, y - 0.9, 0.08, 0.04)
    return (
        0.011 * pull * smile_fold
        + 0.0009 * raised * forehead
        + 0.006 * act.brow_draw * frown
        + 0.002 * jax.nn.relu(act.nose) * bridge
        + 0.0012 * (0.3 * who.age + jax.nn.relu(act.cheek)) * crow
        + 0.0016 * jax.nn.relu(act.chin) * dents
    )


def _nose(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    down = (y - 0.33) / (who.nose_y - 0.33)
    wider = 0.03 * jnp.clip(down, 0.0, 1.3)
    ridge = line(x, 0.032 + wider) * jnp.exp(-((x / (0.04 + wider)) ** 4))
    ridge *= smooth_step(-0.15, 1.1, down) * smooth_step(1.26, 1.0, down)
    wing_x = (who.nose_width - 0.022) * (1 + 0.1 * act.nose + 0.05 * act.stretch)
    wing_y = who.nose_y + 0.014 - 0.012 * act.nose - 0.005 * act.lip_raise
    return (
        who.nose_height * ridge
        + 0.030 * bump(x, y - who.nose_y, 0.036, 0.032)
        + 0.034 * bump(rounded_abs(x) - wing_x, y - wing_y, 0.022, 0.026)
    )


def _mouth_relief(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    lips, across = _lips_at(who, act, x), rounded_abs(x)
    # The upper lip bulges at its top and so faces down; the lower one faces up.
    upper_y = lips.top + 0.25 * who.upper_lip * lips.arch
    lower_y = lips.lower + 0.55 * who.lower_lip * lips.arch
    upper = who.upper_lip * line(y - upper_y, 0.7 * who.upper_lip)
    lower = who.lower_lip * line(y - lower_y, 0.62 * who.lower_lip)
    groove = line(y - lips.bottom - 0.022, 0.024) * smooth_step(0.1, 0.9, lips.arch)
    dimple_x, dimple_y = mouth_width(who, act) + 0.014, who.mouth_y - 0.028 * act.smile
    dimple = bump(across - dimple_x, y - dimple_y, 0.022, 0.03)
    return (
        0.6 * (upper + lower) * smooth_step(0.0, 0.7, lips.arch)
        + 0.028 * bump(x, y - 0.755, 0.15, 0.11)  # the teeth behind
        - 0.006 * bump(x, y - 0.7, 0.016, 0.035)  # philtrum
        - 0.018 * groove
        - (0.005 + 0.007 * jax.nn.relu(act.smile)) * dimple
    )


def relief(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    """Height of the skin over the picture plane."""
    across = rounded_abs(x)
    depth = 1 - head_size(who, act, x, y) ** 2
    head = 0.42 * jnp.sqrt((depth + jnp.sqrt(depth**2 + 0.01)) / 2 + 0.02)
    cheek_y, chin_y = 0.56 - 0.035 * act.cheek, who.chin_y - 0.085 + 0.05 * act.jaw
    cheek = 0.02 + 0.012 * who.cheek + 0.018 * act.cheek
    return (
        head
        + 0.016 * bump(across - 0.16, y - who.brow_y - 0.01, 0.12, 0.035)  # brow ridge
        - 0.030 * bump(across - 0.17, y - who.eye_y, 0.1, 0.05)  # eye socket
        - 0.020 * bump(across - 0.085, y - who.eye_y + 0.01, 0.03, 0.035)  # its inner corner
        + 0.026 * bump(across - who.eye_x, y - who.eye_y, 0.075, 0.042)  # eyeball
        + cheek * bump(across - 0.235, y - cheek_y, 0.1, 0.085)
        + 0.026 * bump(x, y - chin_y, 0.09, 0.055)
        + _nose(who, act, x, y)
        + _mouth_relief(who, act, x, y)
        - _folds(who, act, x, y)
    )
