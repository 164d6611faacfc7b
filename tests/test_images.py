import json
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from mlr_jax import images
from mlr_jax.checks import InputError
from mlr_jax.photographs import files


@pytest.fixture
def picture(rng) -> np.ndarray:
    return rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def test_write_and_read_keep_the_levels(tmp_path, picture):
    path = tmp_path / "picture.png"
    images.write(path, picture / 255)
    read = images.read(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.round(read * 255), picture)


def test_writes_clipped_grey(tmp_path):
    images.write(tmp_path / "grey.png", np.array([[[-1.0], [0.5], [2.0]]]))
    np.testing.assert_allclose(images.read(tmp_path / "grey.png")[0, :, 1], [0, 128 / 255, 1])


def test_writes_pictures_only(tmp_path):
    with pytest.raises(TypeError, match="not uint8"):
        images.write(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="must have the 3 axes"):
        images.write(tmp_path / "x.png", np.zeros((2, 4, 4, 3)))
    with pytest.raises(InputError, match="1 or 3 channels, not 4"):
        images.write(tmp_path / "x.png", np.zeros((4, 4, 4)))


def test_reads_every_kind_of_picture(tmp_path, picture):
    upright = Image.fromarray(picture)
    grey = np.asarray(upright.convert("L"))
    expected = {}
    for mode in ("RGBA", "LA", "L", "P", "1"):
        converted = upright.convert(mode)
        converted.save(tmp_path / f"{mode}.png")
        expected[f"{mode}.png"] = np.asarray(converted.convert("RGB")) / 255
    upright.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    expected["cmyk.jpg"] = iio.imread(tmp_path / "cmyk.jpg", mode="RGB") / 255
    iio.imwrite(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    expected["deep.png"] = np.repeat(grey[..., None], 3, -1) / 255
    for name, values in expected.items():
        read = images.read(tmp_path / name)
        assert read.shape == (9, 7, 3), name
        np.testing.assert_allclose(read, values, atol=1e-6, err_msg=name)


def test_transparent_parts_are_laid_on_white(tmp_path, picture, rng):
    """What lies under them is not seen: pictures that differ only there are the same."""
    alpha = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    alpha[:3] = 0
    alpha[3:5] = 255
    other = picture.copy()
    other[:3] = 255 - other[:3]
    for name, levels in (("one", picture), ("other", other)):
        Image.fromarray(np.dstack([levels, alpha])).save(tmp_path / f"{name}.png")
        Image.fromarray(np.dstack([levels, alpha])).save(tmp_path / f"{name}.webp", lossless=True)
    read = images.read(tmp_path / "one.png")
    opacity = alpha[..., None] / 255
    np.testing.assert_allclose(read, picture / 255 * opacity + 1 - opacity, atol=1e-6)
    assert (read[:3] == 1).all()
    np.testing.assert_array_equal(read[3:5], picture[3:5].astype(np.float32) / np.float32(255))
    for name in ("other.png", "one.webp", "other.webp"):
        np.testing.assert_array_equal(images.read(tmp_path / name), read, err_msg=name)
    palette = Image.fromarray(picture).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    assert images.read(tmp_path / "palette.png")[0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (5, lambda x: x.swapaxes(0, 1)),
        (6, lambda x: np.rot90(x, -1)),
    ],
)
def test_reading_turns_upright(tmp_path, picture, ending, mode, orientation, turn):
    if mode == "I;16":
        picture = Image.fromarray(picture[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(picture).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in ((f"straight.{ending}", {}), (f"turned.{ending}", {"exif": exif})):
        picture.save(tmp_path / name, **options)
    expected = turn(images.read(tmp_path / f"straight.{ending}"))
    np.testing.assert_array_equal(images.read(tmp_path / f"turned.{ending}"), expected)


def test_rejects_pictures_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 62)
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(
        InputError, match=r"large.png has 7 x 9 pixels, but must have 1 to 62; make it smaller$"
    ):
        images.read(tmp_path / "large.png")


def test_every_ending_of_a_readable_format_is_known():
    """Icons and rarer endings apart."""
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in images.FORMATS}
    rare = {".ico", ".apng", ".dib", ".pfm", ".jpc", ".jpf", ".jpx", ".j2c", ".avifs", ".icb", ".vda", ".vst"}
    assert known - rare <= set(images.EXTENSIONS)
    assert {"PNG", "JPEG", "AVIF"} <= {
        Image.registered_extensions()[each] for each in (".png", ".jfif", ".avif")
    }


def test_heic(tmp_path, picture, monkeypatch):
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(InputError, match=r"phone.heic .*extra 'heic', run pip install '.\[heic\]' in"):
            images.read(path)
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    with pytest.raises(InputError, match=r"cannot read .*phone.heic as a picture"):
        images.read(path)
    smooth = np.asarray(Image.fromarray(picture).resize((48, 64), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(Image.fromarray(smooth)).save(path, quality=100, chroma=444)
    np.testing.assert_allclose(images.read(path), smooth / 255, atol=0.05)
    assert files.read(path).levels.shape == smooth.shape
    path.rename(tmp_path / "renamed.jpg")
    assert images.read(tmp_path / "renamed.jpg").shape == smooth.shape
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    with pytest.raises(InputError, match="has 48 x 64 pixels"):
        images.read(tmp_path / "renamed.jpg")


def test_clear_errors(tmp_path):
    with pytest.raises(InputError, match=r"there is no picture .*nothing\.png"):
        images.read(tmp_path / "nothing.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(InputError, match=r"cannot read .*broken.png as a picture: [^\n]*$"):
        images.read(broken)
    truncated = tmp_path / "truncated.jpg"
    Image.fromarray(np.zeros((200, 200, 3), np.uint8) + 99).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:700])
    with pytest.raises(InputError, match=r"cannot read .*truncated\.jpg"):
        images.read(truncated)
    with pytest.raises(InputError, match=r"channels must be 1 \(grey\) or 3 \(colour\), not 4"):
        images.to_channels(np.zeros((2, 2, 3)), 4)


def test_to_channels_makes_grey_by_luma(picture):
    grey = images.to_channels(picture / np.float32(255), 1)
    assert grey.shape == (9, 7, 1)
    expected = np.asarray(Image.fromarray(picture).convert("L")) / 255
    np.testing.assert_allclose(grey[..., 0], expected, atol=0.6 / 255)
    assert images.to_channels(picture, 3) is picture


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_white_stays_white(size):
    white = images.to_channels(images.resize(np.ones((100, 110, 3), np.float32), size), 1)
    assert white.max() <= 1
    np.testing.assert_allclose(white, 1, atol=1e-6)


@pytest.mark.parametrize(("value", "words"), [(200, "values from 0 to 200"), (np.nan, "NaN or infinite")])
def test_floating_point_pictures_must_be_in_range(tmp_path, value, words):
    path = tmp_path / "float.tif"
    picture = np.zeros((4, 4), np.float32)
    Image.fromarray(picture + 0.25).save(path)
    np.testing.assert_array_equal(images.read(path), 0.25)
    picture[1, 2] = value
    Image.fromarray(picture).save(path)
    with pytest.raises(InputError, match=rf"float\.tif holds .*{words}"):
        images.read(path)


def test_resize_is_anti_aliased():
    board = np.indices((64, 32)).sum(axis=0)[..., None] % 2 * np.float32(1)
    small = images.resize(board, 8)
    assert small.shape == (16, 8, 1)
    np.testing.assert_allclose(small[1:-1, 1:-1], 0.5, atol=0.02)
    np.testing.assert_array_equal(images.resize(board, 32), board)


@pytest.mark.parametrize("module", ["mlr_jax.images", "mlr_jax.photographs.files"])
def test_1000_damaged_pictures_are_read_or_rejected(module):
    """`read` of each module takes below a minute, and below 30 bytes for each of the most pixels."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.spoiled_pictures", "0", "1000", module],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert not found["others"]
    assert found["pictures"] > 100
    assert found["refused"] > 500
    assert found["mebibytes"] * 2**20 < 30 * images.MOST_PIXELS
