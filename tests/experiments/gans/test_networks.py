"""The four GANs: their architectures against the papers', and their training steps."""

import itertools
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gans import augmentation, critics, ganimation, registry, stargan
from experiments.gans.contract import Task, num_parameters

pytestmark = pytest.mark.usefixtures("unoptimized_file")

NUM_EXPRESSIONS = 5


def conv(size: int, inputs: int, outputs: int, *, bias: bool = False, norm: bool = False) -> int:
    return size**2 * inputs * outputs + bias * outputs + norm * 2 * outputs


def unet(size: int) -> int:
    """Isola et al.: C64-C128-C256-C512-..., and back with concatenated skips."""
    widths = [64, 128, 256, 512, 512, 512, 512][: {64: 6, 128: 7}[size]]
    total = conv(4, 3, 64, bias=True) + conv(4, widths[-2], widths[-1], bias=True)
    for before, width in itertools.pairwise(widths[:-1]):
        total += conv(4, before, width, norm=True)
    below = widths[-1]
    for width in reversed(widths[:-1]):
        total += conv(4, below, width, norm=True)
        below = 2 * width
    return total + conv(4, below, 3, bias=True)


def patches(inputs: int, *, norm: bool) -> int:
    """C64-C128-C256-C512 and a verdict."""
    total = conv(4, inputs, 64, bias=True) + conv(4, 512, 1, bias=True)
    return total + sum(conv(4, w, 2 * w, norm=norm) for w in (64, 128, 256))


# Zhu et al.: c7s1-64, d128, d256, R256 x 6, u128, u64, c7s1-3.
RESIDUAL = (
    conv(7, 3, 64)
    + conv(3, 64, 128)
    + conv(3, 128, 256)
    + 12 * conv(3, 256, 256)
    + conv(3, 256, 128)
    + conv(3, 128, 64)
    + conv(7, 64, 3, bias=True)
)
# Choi et al., table 4, with affine instance normalisation.
TRUNK = (
    conv(7, 3 + NUM_EXPRESSIONS, 64, norm=True)
    + conv(4, 64, 128, norm=True)
    + conv(4, 128, 256, norm=True)
    + 12 * conv(3, 256, 256, norm=True)
    + conv(4, 256, 128, norm=True)
    + conv(4, 128, 64, norm=True)
)


def critic(size: int) -> int:
    """Their table 5: 64, 128, ..., halving the size down to 2 x 2."""
    widths = [64 * 2**i for i in range({64: 5, 128: 6}[size])]
    total = conv(4, 3, 64, bias=True)
    total += sum(conv(4, w, 2 * w, bias=True) for w in widths[:-1])
    return total + conv(3, widths[-1], 1) + conv(2, widths[-1], NUM_EXPRESSIONS)


GENERATORS = {
    "pix2pix": unet,
    "cyclegan": lambda size: RESIDUAL,
    "stargan": lambda size: TRUNK + conv(7, 64, 3),
    "ganimation": lambda size: TRUNK + conv(7, 64, 3) + conv(7, 64, 1),
}
DISCRIMINATORS = {
    "pix2pix": lambda size: patches(6, norm=True),
    "cyclegan": lambda size: 2 * patches(3, norm=False),
    "stargan": critic,
    "ganimation": critic,
}


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", list(registry.GANS))
def test_architectures_equal_those_of_the_papers(name, size):
    gan = registry.make(name, Task(size, 3, NUM_EXPRESSIONS, num_people=10))
    state = jax.eval_shape(gan.init, jax.random.key(0))
    params = gan.synthesis_params(state.generators)
    assert num_parameters(params) == GENERATORS[name](size)
    assert num_parameters(state.discriminators) == DISCRIMINATORS[name](size)
    pictures = jnp.zeros((3, size, size, 3))
    made = jax.eval_shape(gan.generate, params, pictures, jnp.zeros((3, NUM_EXPRESSIONS)))
    assert made.shape == pictures.shape


def test_sizes_equal_those_that_the_authors_give():
    """Millions in the published code: a U-Net for 128 x 128, six residual blocks, StarGAN and its critic."""
    assert unet(128) == pytest.approx(41.8e6, rel=1e-2)
    assert pytest.approx(7.8e6, rel=1e-2) == RESIDUAL
    assert TRUNK + conv(7, 64, 3) == pytest.approx(8.4e6, rel=1e-2)
    assert critic(128) == pytest.approx(44.8e6, rel=1e-2)


# Small enough to train in a test.
TASK = Task(32, 3, 3, num_people=2)
WIDTH = 4


@pytest.fixture(scope="module")
def pictures() -> jax.Array:
    """Two people with three expressions, each with another bright corner."""
    rng = np.random.default_rng(0)
    faces = np.repeat(0.2 + 0.4 * rng.random((2, 1, 4, 4, 3)), 3, axis=1)
    faces = faces.repeat(8, axis=2).repeat(8, axis=3)
    faces[:, 1, :12, :12] += 0.4
    faces[:, 2, 20:, 20:] += 0.4
    return jnp.asarray(faces, jnp.float32)


@pytest.fixture(scope="module", params=list(registry.GANS))
def gan(request):
    """A GAN whose step is compiled once for all tests."""
    small = {"batch_size": 4} if request.param in ("stargan", "ganimation") else {}
    made = registry.GANS[request.param](TASK, width=WIDTH, **small)
    return request.param, made, jax.jit(made.step), jax.jit(made.init)


# The parts of the generators' losses, with their weights.
WEIGHTS = {
    "pix2pix": {"adversarial": 1, "l1": 100},
    "cyclegan": {"adversarial": 1, "cycle": 10, "identity": 5},
    "stargan": {"adversarial": 1, "classification": 1, "reconstruction": 10},
    "ganimation": {"adversarial": 1, "expression": 4000, "cycle": 10, "attention": 1},
}
CRITICS = {
    "pix2pix": {"discriminator": 1},
    "cyclegan": {"discriminator": 1},
    "stargan": {"critic": 1, "penalty": 1, "classification_real": 1},
    "ganimation": {"critic": 1, "penalty": 1, "expression_real": 4000},
}
RATES = {"pix2pix": 2e-4, "cyclegan": 2e-4, "stargan": 1e-4, "ganimation": 1e-4}


def total(losses, weights) -> float:
    return sum(weight * float(losses[name]) for name, weight in weights.items())


def test_a_step_lowers_each_loss_and_moves_every_parameter(gan, pictures):
    name, _, step, init = gan
    # StarGAN's and GANimation's generators move in every fifth step.
    before = init(jax.random.key(0))._replace(step=jnp.asarray(4, jnp.int32))
    after, losses = step(before, pictures)
    assert set(losses) == set(WEIGHTS[name]) | set(CRITICS[name])
    # The same batch again, with one of the two networks updated.
    _, again = step(before._replace(generators=after.generators), pictures)
    assert total(again, WEIGHTS[name]) < total(losses, WEIGHTS[name])
    _, again = step(before._replace(discriminators=after.discriminators), pictures)
    assert total(again, CRITICS[name]) < total(losses, CRITICS[name])
    for old, new in ((before.generators, after.generators), (before.discriminators, after.discriminators)):
        for (path, one), other in zip(
            jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True
        ):
            assert (np.asarray(one) != np.asarray(other)).any(), (name, jax.tree_util.keystr(path))
        # Adam's first step moves every weight by the rate: the paper's, scaled up for narrow networks.
        moves = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), old, new)
        assert max(jax.tree.leaves(moves)) == pytest.approx(RATES[name] * 64 / WIDTH, rel=1e-3)
    assert int(after.step) == 5


def test_is_determined_by_its_seed(gan, pictures):
    _, made, step, init = gan
    ends = []
    for seed in (0, 0, 1):
        state = init(jax.random.key(seed))
        for _ in range(2):
            state, _ = step(state, pictures)
        ends.append(jax.tree.map(np.asarray, state))
    for one, other in zip(jax.tree.leaves(ends[0]), jax.tree.leaves(ends[1]), strict=True):
        np.testing.assert_array_equal(one, other)
    differs = [
        (one != other).any()
        for one, other in zip(jax.tree.leaves(ends[0]), jax.tree.leaves(ends[2]), strict=True)
    ]
    assert any(differs)
    params = made.synthesis_params(ends[0].generators)
    asked = params, pictures[:, 0], jnp.eye(3)[jnp.array([1, 2])]
    generate = jax.jit(made.generate)
    first = np.asarray(generate(*asked))
    assert first.shape == pictures[:, 0].shape
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, generate(*asked))


# Steps, channels, and the mean absolute error to reach; the unchanged input has 0.056.
OVERFIT = {"pix2pix": (100, 8, 0.03), "cyclegan": (200, 4, 0.045)}


@pytest.mark.long
@pytest.mark.parametrize("name", registry.OF_PAIRS)
def test_two_pairs_can_be_overfitted(name, pictures, monkeypatch):
    monkeypatch.setattr(augmentation, "augment", lambda pictures, key: pictures)
    steps, width, error = OVERFIT[name]
    task = Task(32, 3, 2, num_people=2, num_epochs=steps)
    made = registry.GANS[name](task, width=width)
    pairs = pictures[:, :2]

    @partial(jax.jit, donate_argnums=0)
    def train(state):
        return jax.lax.fori_loop(0, steps, lambda _, state: made.step(state, pairs)[0], state)

    state = train(jax.jit(made.init)(jax.random.key(0)))
    params = made.synthesis_params(state.generators)
    generated = np.asarray(jax.jit(made.generate)(params, pairs[:, 0], jnp.zeros((2, 2))))
    unchanged = float(jnp.abs(pairs[:, 0] - pairs[:, 1]).mean())
    assert unchanged == pytest.approx(0.4 * 144 / 1024, rel=1e-4)
    assert float(np.abs(generated - pairs[:, 1]).mean()) < error


def test_attention_keeps_the_picture_where_it_is_1():
    """G(x, c) = (1 - A) C + A x: with a mask of ones the input comes back, with zeros the colours."""
    made = ganimation.make(TASK, width=WIDTH, batch_size=4)
    params = jax.jit(made.init)(jax.random.key(0)).generators
    faces = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)), jnp.float32)
    asked = faces, jnp.eye(3)[jnp.array([1, 2])]
    network = ganimation.Generator(WIDTH, 3)
    colours, mask = network.apply(params, 2 * faces - 1, asked[1] * jnp.array([[0.0, 1.0, 1.0]]))
    assert mask.shape == (2, 32, 32, 1)
    assert float(mask.min()) >= 0
    assert float(mask.max()) <= 1
    expected = ((1 - mask) * colours + mask * (2 * faces - 1) + 1) / 2
    np.testing.assert_allclose(made.generate(params, *asked), expected, atol=1e-5)


def test_verdicts_of_narrow_and_wide_critics_vary_alike():
    """Compares how much untrained critics' verdicts differ between pictures."""
    pictures = jnp.asarray(np.random.default_rng(0).random((8, 16, 16, 3)), jnp.float32)
    spreads = []
    for width in (4, 64):
        network = critics.Critic(width, num_layers=3, num_expressions=2)
        (verdicts, _), _ = jax.jit(network.init_with_output)(jax.random.key(0), pictures)
        spreads.append(float(jnp.std(verdicts, axis=0).mean()))
    assert 0.3 < spreads[0] / spreads[1] < 3


def test_every_pixel_sees_the_condition():
    """StarGAN's and GANimation's generators see the target expression and its intensity at every pixel."""
    network = stargan.ConditionedTrunk(WIDTH, num_blocks=1)
    faces = jnp.full((3, 16, 16, 3), 0.5)
    wanted = jnp.array([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0]])
    params = network.init(jax.random.key(0), faces, wanted)
    hidden = np.asarray(network.apply(params, faces, wanted))
    assert np.abs(hidden[0] - hidden[1]).max() > 1e-4
    assert np.abs(hidden[1] - hidden[2]).max() > 1e-4


def test_the_penalty_sums_the_slopes_of_all_verdicts_on_a_picture(rng):
    """Four verdicts with a slope of a quarter each have the penalty 0."""
    shape = (5, 8, 8, 3)
    slope = 1 / (4 * np.sqrt(8 * 8 * 3))

    def judge(_: None, pictures: jax.Array) -> tuple[jax.Array, None]:
        total = slope * pictures.sum(axis=(1, 2, 3))
        return jnp.broadcast_to(total[:, None, None, None], (len(pictures), 2, 2, 1)), None

    real, made = (jnp.asarray(rng.random(shape), jnp.float32) for _ in range(2))
    terms = critics.wasserstein_terms(SimpleNamespace(apply=judge), None, real, made, jax.random.key(0))
    assert float(terms["penalty"]) == pytest.approx(0, abs=1e-6)
    expected = slope * float((made - real).sum(axis=(1, 2, 3)).mean())
    assert float(terms["critic"]) == pytest.approx(expected, rel=1e-4)


def test_batch_sizes_are_as_published_or_as_given():
    task = Task(32, 3, 4, num_people=100)
    found = {name: registry.make(name, task, 4).steps_an_epoch for name in registry.GANS}
    assert found == {"pix2pix": 100, "cyclegan": 100, "stargan": 5 * 25, "ganimation": 5 * 16}
    told = {name: registry.make(name, task, 4, 8).steps_an_epoch for name in registry.GANS}
    assert told == {"pix2pix": 100, "cyclegan": 100, "stargan": 5 * 50, "ganimation": 5 * 50}
