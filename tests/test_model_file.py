import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import array_file, masks, model_file, synthesis
from mlr_jax.checks import InputError

HEIGHT, WIDTH = 4, 5


def make(rng, window, dtype=np.float32):
    """A model of any numbers, of which some are odd ones: -0 and a subnormal."""
    num = len(window.offsets) if isinstance(window, masks.Window) else window.indices.shape[1]
    weights = rng.standard_normal((3, num, 1, HEIGHT, WIDTH)).astype(dtype)
    weights.flat[:2] = -0.0, 1e-40
    bias = rng.standard_normal((3, HEIGHT, WIDTH)).astype(dtype)
    return synthesis.ExpressionModel(jnp.asarray(weights), jnp.asarray(bias), window)


@pytest.fixture
def model(rng):
    return make(rng, masks.disk(1))


@pytest.mark.parametrize("window", [masks.disk(1), masks.dilated_window(HEIGHT, WIDTH, 3, 1)])
def test_comes_back_to_the_bit(tmp_path, rng, window):
    before = make(rng, window)
    model_file.save(tmp_path / "model.npz", before, metadata={"target": "happy", "number": 0.1})
    model, metadata = model_file.load(tmp_path / "model.npz")
    assert np.asarray(model.weights).tobytes() == np.asarray(before.weights).tobytes()
    assert np.asarray(model.bias).tobytes() == np.asarray(before.bias).tobytes()
    assert type(model.window) is type(window)
    for one, other in zip(model.window, window, strict=True):
        np.testing.assert_array_equal(one, other)
    assert metadata == {"target": "happy", "number": 0.1}
    pictures = rng.random((2, HEIGHT, WIDTH, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        synthesis.synthesize(model, pictures), synthesis.synthesize(before, pictures)
    )


def test_double_precision_is_kept_where_asked_for(tmp_path, rng, x64):
    before = make(rng, masks.square(3), np.float64)
    model_file.save(tmp_path / "model.npz", before)
    assert model_file.load(tmp_path / "model.npz").model.weights.dtype == jnp.float32
    model_file.save(tmp_path / "model.npz", before, dtype=np.float64)
    model = model_file.load(tmp_path / "model.npz").model
    np.testing.assert_array_equal(model.weights, before.weights)


def test_the_same_model_gives_the_same_file(tmp_path, model):
    for name in ("one", "other"):
        model_file.save(tmp_path / name, model, metadata={"a": 1, "b": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_is_read_without_this_project(tmp_path, model):
    model_file.save(tmp_path / "model.npz", model)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert set(file.files) == {"weights", "bias", "offsets", "header"}
        assert [tuple(offset) for offset in file["offsets"]] == list(model.window.offsets)


def test_a_failed_save_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "model.npz"
    model_file.save(path, model)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        model_file.save(path, model)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "no unfinished file may stay"


def test_leftovers_of_killed_programs_are_removed(tmp_path, model):
    path = tmp_path / "model.npz"
    model_file.save(path, model)
    (tmp_path / ".model.npz.123.partial").write_text("half")
    (tmp_path / ".other.npz.123.partial").write_text("half")
    array_file.remove_partial(path)
    assert {each.name for each in tmp_path.iterdir()} == {"model.npz", ".other.npz.123.partial"}


def _rewrite(path, change, *, kind="expression model", version=1):
    """The same file with other arrays."""
    arrays, header = array_file.load(path, "expression model", 1)
    arrays |= change
    kept = {name: array for name, array in arrays.items() if array is not None}
    array_file.save(path, kind, version, kept, header)


def _write_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda path: path.unlink(), "there is no file .*model.npz"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged, or no expression model"),
        (lambda path: path.write_bytes(b""), "is damaged, or no expression model"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"\x00\x00\x80", b"\x00\x01\x80", 1)),
            "is damaged, or no expression model",
        ),
        (lambda path: np.savez(path, a=np.ones(3)), "is damaged, or no expression model"),
        (lambda path: _write_array(path), "it holds a single array"),
        (lambda path: _rewrite(path, {}, kind="statistics"), "holds no expression model, but: statistics"),
        (lambda path: _rewrite(path, {}, version=2), "by a newer mlr_jax .format 2; this one reads 1"),
        (lambda path: _rewrite(path, {"bias": None}), "it has no array bias"),
        (lambda path: _rewrite(path, {"offsets": None}), "neither a window's offsets nor a mask"),
        (lambda path: _rewrite(path, {"offsets": np.zeros((5, 2))}), "offsets must be whole numbers"),
        (lambda path: _rewrite(path, {"offsets": np.eye(2, dtype=int)}), "2 offsets do not belong together"),
        (lambda path: _rewrite(path, {"bias": np.ones((3, 4, 4))}), "do not belong together"),
        (lambda path: _rewrite(path, {"bias": np.ones((3, 4))}), "bias must be floating point with 3 axes"),
        (
            lambda path: _rewrite(path, {"bias": np.full((3, HEIGHT, WIDTH), np.nan)}),
            "bias holds NaN or infinity",
        ),
    ],
)
def test_clear_errors(tmp_path, model, break_it, words):
    model = model._replace(weights=jnp.ones_like(model.weights))
    model_file.save(tmp_path / "model.npz", model)
    break_it(tmp_path / "model.npz")
    with pytest.raises(InputError, match=words):
        model_file.load(tmp_path / "model.npz")


def test_metadata_must_be_json(tmp_path, model):
    with pytest.raises(TypeError, match="not JSON serializable"):
        model_file.save(tmp_path / "model.npz", model, metadata={"array": np.ones(2)})
    assert not list(tmp_path.iterdir())
