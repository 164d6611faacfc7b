import numpy as np
import pytest
from PIL import Image

from mlr_jax import images
from mlr_jax.checks import InputError, PassedOverWarning
from mlr_jax.datasets import folder

NAMES = ("anna", "bert", "cleo")


@pytest.fixture
def root(tmp_path, rng):
    """Three people with three expressions, 20 x 20 colour."""
    for expression in ("neutral", "happy", "sad"):
        (tmp_path / expression).mkdir()
        for name in NAMES:
            images.write(tmp_path / expression / f"{name}.png", rng.random((20, 20, 3)))
    return tmp_path


def test_loads_pairs_by_name(root):
    pairs = folder.load(root, image_size=None)
    assert pairs.subjects == NAMES
    assert pairs.neutral.dtype == np.float32
    for n, name in enumerate(NAMES):
        np.testing.assert_array_equal(pairs.neutral[n], images.read(root / "neutral" / f"{name}.png"))
        np.testing.assert_array_equal(pairs.expressive[n], images.read(root / "happy" / f"{name}.png"))


def test_any_expression_to_any_other(root):
    there = folder.load(root, source="sad", target="neutral", image_size=None)
    back = folder.load(root, source="neutral", target="sad", image_size=None)
    np.testing.assert_array_equal(there.neutral, back.expressive)
    np.testing.assert_array_equal(there.expressive, back.neutral)


def test_size_and_channels(root):
    pairs = folder.load(root, image_size=16, channels=1)
    assert pairs.neutral.shape == pairs.expressive.shape == (3, 16, 16, 1)
    whole = folder.load(root, image_size=None, channels=1)
    assert abs(whole.neutral.mean() - pairs.neutral.mean()) < 0.02


def test_loads_the_layout_of_the_published_code(root):
    (root / "neutral").rename(root / "trainA")
    (root / "happy").rename(root / "trainB")
    pairs = folder.load(root, image_size=None)
    np.testing.assert_array_equal(pairs.neutral[0], images.read(root / "trainA" / "anna.png"))
    back = folder.load(root, image_size=None, source="happy", target="neutral")
    np.testing.assert_array_equal(back.neutral, pairs.expressive)
    with pytest.raises(InputError, match="source or target must be 'neutral'"):
        folder.load(root, source="happy", target="sad")


def test_file_endings_may_differ(root):
    images.write(root / "happy" / "anna.jpg", np.full((20, 20, 3), 0.5))
    (root / "happy" / "anna.png").unlink()
    (root / "happy" / "notes.txt").write_text("not a picture")
    (root / "happy" / ".hidden.png").write_text("not a picture")
    with pytest.warns(PassedOverWarning, match=r"happy: passed over 1 of 4 files, .*: notes.txt"):
        assert folder.load(root).subjects == NAMES


def test_all_readable_endings_count(root):
    """Pictures of other formats beside PNG files."""
    for name, ending in zip(NAMES, (".jfif", ".avif", ".gif"), strict=True):
        picture = Image.open(root / "happy" / f"{name}.png").convert("RGB")
        picture.save(root / "happy" / f"{name}{ending}", format="JPEG" if ending == ".jfif" else None)
        (root / "happy" / f"{name}.png").unlink()
    assert folder.load(root).subjects == NAMES


def test_keeps_decoded_pictures(root, tmp_path):
    first = folder.load(root, cache_dir=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(folder.load(root, cache_dir=tmp_path / "cache").neutral, first.neutral)
    images.write(root / "neutral" / "anna.png", np.zeros((20, 20, 3)))
    changed = folder.load(root, cache_dir=tmp_path / "cache")
    assert changed.neutral[0].max() == 0, "a changed picture must not come from the cache"
    for option in ({"channels": 1}, {"image_size": 32}, {"source": "sad"}, {"target": "sad"}):
        pairs = folder.load(root, cache_dir=tmp_path / "cache", **option)
        np.testing.assert_array_equal(pairs.neutral, folder.load(root, **option).neutral)
        np.testing.assert_array_equal(pairs.expressive, folder.load(root, **option).expressive)
    assert kept.exists()


def test_shows_progress(root):
    seen = []
    folder.load(root, progress=lambda names: (seen.append(name) or name for name in names))
    assert tuple(seen) == NAMES


def _remove(root, name):
    (root / name).unlink()


def _empty(root, name):
    for path in (root / name).iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: _remove(root, "happy/bert.png"), "neutral.bert.png has no partner bert in .*happy"),
        (lambda root: _remove(root, "neutral/bert.png"), "happy.bert.png has no partner bert in .*neutral"),
        (
            lambda root: images.write(root / "happy" / "bert.png", np.zeros((21, 20, 3))),
            "bert.png is 20 x 21 pixels, but .*anna.png is 20 x 20",
        ),
        (
            lambda root: (root / "happy" / "bert.png").write_text("rubbish"),
            "cannot read .*happy.bert.png as a picture",
        ),
        (lambda root: _empty(root, "happy"), "there are no pictures in .*happy"),
        (
            lambda root: (root / "happy").rename(root / "joyful"),
            "no folder .*happy; it has the folders joyful, neutral, sad",
        ),
        (
            lambda root: images.write(root / "happy" / "anna.jpg", np.zeros((20, 20, 3))),
            "anna.jpg and .*anna.png have the same name",
        ),
    ],
)
def test_clear_errors(root, break_it, words):
    break_it(root)
    with pytest.raises(InputError, match=words):
        folder.load(root)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere$"):
        folder.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="image_size must be 1 or more, not 0"):
        folder.load(tmp_path, image_size=0)
    with pytest.raises(InputError, match="both 'happy'; they must differ"):
        folder.load(tmp_path, source="happy", target="happy")
