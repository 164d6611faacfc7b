"""The parts of a portrait, each a function of a point that gives colour and coverage."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from mlr_jax.datasets.synthetic.anatomy import Point, head_size, mouth_width, relief
from mlr_jax.datasets.synthetic.light import lit, unit
from mlr_jax.datasets.synthetic.people import Expression, Identity
from mlr_jax.datasets.synthetic.shapes import bump, inside, line, mix, rgb, smooth_step, superellipse, wave

_Paint = tuple[Array, Array]  # colour (3,) and coverage () of one part at a point


# Colours of the skin and what grows on it


def _skin_colour(who: Identity, at: Point) -> Array:
    """White light less the absorption of two pigments; blood shows where the skin is thin."""
    x, y = at.x, at.y
    flush = (
        0.55 * bump(x, y - who.nose_y, 0.06, 0.05)
        + 0.60 * bump(at.across - 0.25, y - 0.57, 0.09, 0.07)
        + 0.25 * bump(at.across - who.eye_x, y - who.eye_y - 0.03, 0.09, 0.03)
        + 0.30 * bump(x, y - who.chin_y + 0.08, 0.07, 0.04)
    )
    mole_x, mole_y, mole = who.moles.T
    mole = smooth_step(0.1, 1.0, mole) * bump(x - 0.32 * mole_x, y - 0.6 - 0.3 * mole_y, 0.008, 0.008)
    freckle = smooth_step(0.3, 0.6, at.pore) * bump(at.across - 0.13, y - 0.52, 0.22, 0.12)
    melanin = (0.14 + who.melanin**1.4) * (1 + 0.12 * at.blotch + 0.04 * at.pore)
    melanin = melanin + 0.4 * jax.nn.relu(who.freckles) * freckle + 0.9 * mole.sum()
    blood = 0.15 + 0.5 * who.blood + 0.5 * flush + 0.2 * at.blotch + 0.05 * at.pore
    absorbed = melanin * rgb(2.1, 2.75, 3.2) + blood * rgb(0.05, 0.42, 0.40)
    return rgb(0.95, 0.82, 0.72) * jnp.exp(-absorbed)


def _hair_colour(who: Identity) -> Array:
    absorbed = 5.0 * who.hair_dark**1.4 * rgb(0.9, 1.13, 1.3)
    absorbed = absorbed + jax.nn.relu(who.hair_red) * rgb(0.1, 0.6, 1.0)
    young = rgb(0.72, 0.55, 0.33) * jnp.exp(-absorbed)
    return mix(young, rgb(0.55, 0.54, 0.53), 0.9 * smooth_step(0.5, 1.4, who.hair_grey + who.age))


def _with_beard(who: Identity, act: Expression, skin: Array, at: Point) -> Array:
    lips = at.lips
    corner = mouth_width(who, act) + 0.02
    jaw = smooth_step(-0.03, 0.06, at.y - 0.85 + 2.2 * at.across**2)
    above = (lips.top - at.y) / (0.06 - 0.03 * (at.across / corner) ** 2)
    moustache = smooth_step(1.1, 0.6, above) * smooth_step(1.1, 0.8, at.across / corner)
    moustache *= inside(at.y - lips.bottom)
    beside = line(at.across - corner, 0.025) * inside(lips.seam - 0.02 - at.y, 0.03)
    bare = inside(lips.top - at.y, 0.01) * inside(at.y - lips.bottom, 0.012)
    patch = jnp.maximum(jnp.maximum(jaw, beside), moustache) * (1 - bare * smooth_step(-0.1, 0.2, lips.arch))
    density = jax.nn.relu(who.beard) * (0.85 + 0.3 * at.pore)
    return mix(skin, 0.75 * _hair_colour(who), patch * jnp.clip(density, 0.0, 0.85))


def _with_lips(who: Identity, act: Expression, skin: Array, at: Point) -> Array:
    lips = at.lips
    coverage = inside(lips.top - at.y) * inside(at.y - lips.bottom, 0.01)
    tint = jnp.exp(-rgb(0.28, 1.15, 0.85) * (0.35 + 0.65 * who.lip_red))
    skin = mix(skin, skin * tint, 0.85 * coverage * smooth_step(0.0, 0.2, lips.arch))
    closed = smooth_step(0.02, 0.004, lips.lower - lips.upper) * smooth_step(-0.03, 0.15, lips.arch)
    return skin * (1 - 0.8 * closed * line(at.y - lips.seam, 0.006))


def _with_brows(who: Identity, act: Expression, skin: Array, at: Point) -> Array:
    inner = 0.082 - 0.022 * act.brow_draw
    t = (at.across - inner) / (0.305 - inner)  # 0 at the inner end, 1 at the outer one
    middle = (
        who.brow_y
        - 4 * who.brow_arch * t * (1 - t)
        - who.brow_slope * (t - 0.5)
        - (0.045 * act.brow_inner - 0.03 * act.brow_draw) * (1 - t) ** 2
        - 0.05 * act.brow_outer * t * (2 - t)
    )
    above = middle - at.y
    strokes = wave(24 * t + 80 * above) + wave(15.5 * t + 52 * above)
    thickness = who.brow_thickness * (0.25 + 0.75 * smooth_step(-0.1, 0.25, t) * smooth_step(1.05, 0.45, t))
    body = smooth_step(1.15, 0.35, jnp.abs(above + 0.0005 * strokes) / thickness)
    amount = body * smooth_step(-0.05, 0.15, t) * smooth_step(1.06, 0.9, t) * (0.88 + 0.05 * strokes)
    return mix(skin, 0.2 * _hair_colour(who), amount * who.brow_density)


def _with_lids(who: Identity, act: Expression, skin: Array, at: Point) -> Array:
    eye = at.eye
    crease = line(eye.down - 1.05 * eye.upper + 0.016 + 0.008 * who.lid_fold, 0.006)
    crease *= (0.4 + 0.2 * who.lid_fold) * smooth_step(1.12, 0.85, jnp.abs(eye.along))
    pouch = 0.15 * line(eye.down - eye.lower - 0.035, 0.012)
    return skin * (1 - crease) * (1 - pouch * smooth_step(1.0, 0.4, jnp.abs(eye.along)))


# The parts, each returning colour and coverage


def _open_sky(who: Identity, act: Expression, at: Point) -> Array:
    """Fraction of the sky that brows, nose, lips and hair do not hide from the skin."""
    lips, y = at.lips, at.y
    nostril = bump(at.across - 0.45 * who.nose_width, y - who.nose_y - 0.036, 0.017, 0.008)
    opening, outline = _hair_shape(who, at)
    under_hair = smooth_step(-0.09, 0.0, opening) * inside(outline, 0.03) * _has_hair(who)
    return jnp.exp(
        -0.30 * bump(at.across - 0.15, y - who.brow_y - 0.05, 0.12, 0.03)
        - 0.25 * bump(at.across - 0.085, y - who.eye_y, 0.04, 0.05)
        - 0.35 * bump(at.x, y - who.nose_y - 0.058, 0.9 * who.nose_width, 0.02)
        - 1.60 * nostril
        - 0.45 * bump(at.across - who.nose_width - 0.006, y - who.nose_y - 0.012, 0.012, 0.026)
        - 0.30 * bump(at.x, y - lips.bottom - 0.018, 0.09, 0.018)
        - 0.25 * bump(at.across - mouth_width(who, act), y - lips.seam, 0.025, 0.02)
        - 0.35 * smooth_step(0.86, 1.02, head_size(who, act, at.x, y))
        - 0.50 * under_hair
    )


def _hair_shape(who: Identity, at: Point) -> tuple[Array, Array]:
    """(opening, outline): distance to the face's opening in the hair, and to the hair's outline."""
    long = _long_hair(who)
    top = who.hairline + 0.11 * smooth_step(0.0, 0.3, who.fringe)
    top = top + who.swoop * jnp.sqrt((at.x - who.parting) ** 2 + 0.004)
    side = who.head_width * (0.99 - 0.05 * who.hair_length)
    opening = superellipse(at.x / side, jnp.minimum(at.y - 0.55, 0.0) / (0.55 - top), 2.7) - 1

    reach = who.head_width + 0.015 + 0.09 * who.hair_volume * (0.3 + 0.7 * who.hair_length)
    hang = jnp.where(at.y > 0.4, 1 - 0.85 * long, 1.0)
    outline = superellipse(at.x / reach, hang * (at.y - 0.4) / 0.56, 2.3) - 1
    ends = at.y - 0.4 - 0.9 * long - 0.02 * at.strand
    strand = 0.01 * at.strand
    return 0.4 * opening + strand, jnp.maximum(0.4 * outline + strand, ends)


def _has_hair(who: Identity) -> Array:
    return smooth_step(0.02, 0.0, who.bald)


def _long_hair(who: Identity) -> Array:
    return smooth_step(0.4, 0.6, who.hair_length) * _has_hair(who)


def _hair_light(who: Identity, at: Point) -> Array:
    colour = _hair_colour(who)
    normal = unit(-1.8 * at.x, 0.5 - 1.2 * at.y, 1)  # of a round head
    light = lit(who, colour * (0.85 + 0.45 * at.strand), normal, open_sky=1)
    band = line(at.from_top - 0.42 - 0.1 * who.light_y - 0.04 * at.strand, 0.1)
    shine = 0.12 * who.contrast * band * jax.nn.relu(0.5 + at.strand)
    return light + shine * (0.3 + colour)


def _hair_behind(who: Identity, act: Expression, at: Point) -> _Paint:
    _, outline = _hair_shape(who, at)
    return 0.45 * _hair_light(who, at), inside(outline, 0.012) * _has_hair(who)


def _hair(who: Identity, act: Expression, at: Point) -> _Paint:
    opening, outline = _hair_shape(who, at)
    shade = jnp.exp(-0.4 * smooth_step(0.1, 0.0, opening) - 0.2 * smooth_step(0.4, 1.0, at.y))
    coverage = inside(-opening, 0.012) * inside(outline, 0.012) * _has_hair(who)
    return shade * _hair_light(who, at), coverage


def _neck(who: Identity, act: Expression, at: Point) -> _Paint:
    half_width = 0.27 + 0.3 * (at.y - 0.85) ** 2 + 0.2 * (who.head_width - 0.4)
    open_sky = 0.6 - 0.45 * smooth_step(1.25, 1.0, head_size(who, act, at.x, at.y))
    colour = lit(who, _skin_colour(who, at), unit(-2.5 * at.x, -0.3, 1), open_sky, scatter=1.0)
    return colour, inside(at.across - half_width, 0.008) * smooth_step(0.6, 0.7, at.y)


def _cloth(who: Identity, act: Expression, at: Point) -> _Paint:
    collar = 0.93 + 0.25 * line(at.x, 0.3)
    colour = lit(who, 0.03 + 0.5 * who.cloth**2, unit(-1.5 * at.x, 0.5, 1), 0.75, scatter=0.0)
    return colour, inside(collar - at.y, 0.01)


def _ears(who: Identity, act: Expression, at: Point) -> _Paint:
    dx, dy = at.across - who.head_width - 0.008, at.y - 0.5
    normal = unit(-12 * dx * jnp.sign(at.x), -3 * dy, 1)
    open_sky = jnp.exp(-0.9 * bump(dx + 0.002, dy, 0.016, 0.05))
    colour = lit(who, _skin_colour(who, at), normal, open_sky, gloss=0.02, scatter=1.2)
    shape = inside(0.036 * (superellipse((dx + 0.15 * dy) / 0.036, dy / 0.1) - 1), 0.006)
    return colour, shape * (1 - _long_hair(who))


def _skin(who: Identity, act: Expression, at: Point) -> _Paint:
    colour = _skin_colour(who, at)
    for add in (_with_beard, _with_lips, _with_brows, _with_lids):
        colour = add(who, act, colour, at)
    slope_x, slope_y = jax.grad(partial(relief, who, act), argnums=(0, 1))(at.x, at.y)
    normal = unit(-slope_x, -slope_y, 1)
    light = lit(who, colour, normal, _open_sky(who, act, at), gloss=0.045, scatter=1.0)
    return light, inside(0.4 * (head_size(who, act, at.x, at.y) - 1), 0.008)


def _eyes(who: Identity, act: Expression, at: Point) -> _Paint:
    eye = at.eye
    dx, dy = at.x - jnp.sign(at.x) * who.eye_x, at.y - who.eye_y + 0.002
    radius = superellipse(dx / 0.045, dy / 0.045)
    spoke = jnp.arctan2(dy, dx + 1e-6) * 3 / jnp.pi
    fibres = 0.5 + 0.25 * wave(3 * spoke + 1.5 * who.iris_green) + 0.25 * wave(5 * spoke)

    light_iris = mix(rgb(0.20, 0.34, 0.50), rgb(0.25, 0.34, 0.16), who.iris_green)
    iris = mix(rgb(0.13, 0.055, 0.02), light_iris, who.iris_light)
    iris = iris * (0.7 + 0.6 * fibres * smooth_step(0.3, 0.7, radius)) * (1 + 13 * dy)
    iris = iris * (1 - 0.75 * smooth_step(0.72, 1.0, radius)) * smooth_step(0.36, 0.46, radius)
    white = rgb(0.70, 0.665, 0.645) * (1 - 0.25 * eye.along**2)
    white = mix(white, rgb(0.55, 0.25, 0.22), smooth_step(-0.72, -0.98, eye.along))

    under_lid = 0.9 * line(eye.down - eye.upper, 0.018) + 0.25 * line(eye.down - eye.lower, 0.008)
    ball = mix(white, iris, smooth_step(1.06, 0.92, radius))
    colour = lit(who, ball, unit(-4 * dx, -5 * dy, 1), jnp.exp(-under_lid))
    glint_x = 0.016 * jnp.tanh(8 * who.light_x)
    colour = colour + bump(dx - glint_x, dy + 0.014, 0.007, 0.007)
    return colour, inside(eye.upper - eye.down, 0.004) * inside(eye.down - eye.lower, 0.004)


def _lashes(who: Identity, act: Expression, at: Point) -> _Paint:
    eye = at.eye
    outward = smooth_step(-1.15, 0.7, eye.along) * smooth_step(1.16, 1.0, eye.along)
    above = line(eye.down - eye.upper, 0.005 + 0.0045 * outward) * (0.45 + 0.55 * outward)
    below = 0.4 * line(eye.down - eye.lower, 0.004) * smooth_step(-0.9, 0.6, eye.along)
    amount = jnp.maximum(above * (0.6 + 0.4 * who.lashes), below * who.lashes)
    return 0.08 * _hair_colour(who) + 0.008, amount * smooth_step(1.14, 1.0, jnp.abs(eye.along))


def _mouth_inside(who: Identity, act: Expression, at: Point) -> _Paint:
    lips = at.lips
    tooth = at.x / 0.045
    edge = lips.upper + (0.004 + 0.04 * act.lip_raise) * lips.arch - 0.0012 * wave(tooth - 0.25)
    teeth = inside(at.y - edge, 0.005) * smooth_step(0.05, 0.4, lips.arch)
    gap = 0.22 * line(wave(0.5 * tooth), 0.18)
    ivory = rgb(0.76, 0.71, 0.62) * (1 - gap) * (1 - 0.75 * smooth_step(0.03, 0.17, at.across))
    tongue = bump(at.x, at.y - lips.lower - 0.01, 0.06, 0.028)
    dark = mix(rgb(0.025, 0.006, 0.006), rgb(0.15, 0.032, 0.03), tongue)
    open_sky = jnp.exp(-0.8 * line(at.y - lips.upper, 0.014))
    colour = lit(who, mix(dark, ivory, teeth), unit(-2.5 * at.x, 0.0, 1), open_sky)
    coverage = inside(lips.upper - at.y, 0.004) * inside(at.y - lips.lower, 0.004)
    parted = smooth_step(0.004, 0.012, lips.lower - lips.upper) * smooth_step(0.0, 0.1, lips.arch)
    return colour, coverage * parted


def _glasses(who: Identity, act: Expression, at: Point) -> _Paint:
    dx, dy = at.across - who.eye_x - 0.005, at.y - who.eye_y - 0.015
    rim = jnp.abs(0.1 * (superellipse(dx / 0.13, dy / 0.095, 3.0) - 1)) - 0.006
    bridge = jnp.maximum(jnp.abs(dy + 0.03 - 3 * at.x**2) - 0.006, at.across - 0.062)
    arm = jnp.maximum(jnp.abs(dy + 0.03) - 0.007, jnp.abs(at.across - 0.38) - 0.06)
    frame = inside(jnp.minimum(rim, jnp.minimum(bridge, arm)), 0.004)
    return rgb(0.02, 0.02, 0.022), frame * smooth_step(0.0, 0.02, who.glasses)


def backdrop(who: Identity, at: Point) -> Array:
    """Light `(3,)` of the background."""
    lightness, hue, saturation, gradient = who.backdrop
    tint = 1 + 0.35 * saturation * jnp.cos(2 * jnp.pi * (hue + rgb(0.0, 1 / 3, 2 / 3)))
    glow = 1 + 0.5 * (gradient - 0.5) * (1 - 2 * at.y) + 0.5 * (gradient - 0.3) * at.x
    return (0.06 + 0.5 * lightness**1.5) * tint * glow


BACK_TO_FRONT = (
    _hair_behind, _neck, _cloth, _ears, _skin, _eyes, _lashes, _mouth_inside, _hair, _glasses,
)  # fmt: skip
"""The parts of a picture, in the order of composition."""
