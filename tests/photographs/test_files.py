import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from mlr_jax import images, pretrained
from mlr_jax.checks import InputError
from mlr_jax.photographs import expressions, files
from mlr_jax.photographs.files import Photograph

HEIGHT, WIDTH = 6, 9
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")


@pytest.fixture
def levels(rng):
    return rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)


def test_reads_colour_and_grey(tmp_path, levels):
    Image.fromarray(levels[..., :3]).save(tmp_path / "colour.png")
    Image.fromarray(levels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(files.read(tmp_path / "colour.png").levels, levels[..., :3])
    np.testing.assert_array_equal(files.read(tmp_path / "grey.png").levels, levels[..., :1])


def test_transparency_is_kept(tmp_path, levels):
    for planes, name in ((levels, "rgba.png"), (levels[..., 2:], "la.png")):
        Image.fromarray(planes).save(tmp_path / name)
        photograph = files.read(tmp_path / name)
        np.testing.assert_array_equal(photograph.levels, planes[..., :-1])
        np.testing.assert_array_equal(photograph.alpha, planes[..., -1])


def test_palettes_become_colours(tmp_path, levels):
    image = Image.fromarray(levels[..., :3]).quantize(8)
    image.save(tmp_path / "palette.png")
    photograph = files.read(tmp_path / "palette.png")
    np.testing.assert_array_equal(photograph.levels, np.asarray(image.convert("RGB")))
    assert photograph.alpha is None
    image.save(tmp_path / "palette.gif", transparency=image.getpixel((0, 0)))
    assert files.read(tmp_path / "palette.gif").alpha[0, 0] == 0


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, rng, ending):
    deep = rng.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / f"deep{ending}")
    photograph = files.read(tmp_path / f"deep{ending}")
    np.testing.assert_array_equal(photograph.levels[..., 0], deep)
    files.write(tmp_path / f"again{ending}", photograph)
    np.testing.assert_array_equal(files.read(tmp_path / f"again{ending}").levels[..., 0], deep)
    # Other formats get the nearest level of eight bits.
    files.write(tmp_path / "again.bmp", photograph)
    eight = files.read(tmp_path / "again.bmp").levels[..., 0]
    assert abs(eight / 255 - deep / 65535).max() <= 0.5001 / 255


@pytest.mark.parametrize("ending", files.DEEP_ENDINGS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_transparent", [False, True])
def test_sixteen_bits_are_kept(tmp_path, rng, ending, channels, is_transparent):
    planes = rng.integers(0, 65536, (HEIGHT, WIDTH, channels + is_transparent), dtype=np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = planes[..., -1] if is_transparent else None
    path = tmp_path / f"it{ending}"
    files.write(path, Photograph(planes[..., :channels], alpha, profile))
    again = files.read(path)
    # TIFF has no grey with transparency that other programs read.
    is_made_colour = ending != ".png" and planes.shape[-1] == 2
    written = planes[..., [0, 0, 0, 1]] if is_made_colour else planes
    np.testing.assert_array_equal(again.levels, written[..., : 3 if is_made_colour else channels])
    np.testing.assert_array_equal(again.alpha, alpha)
    assert again.icc_profile == profile
    # What other programs see: Pillow the upper bytes, tifffile everything.
    with Image.open(path) as image:
        assert "Synthetic" in image.getexif()[270]
        if planes.shape[-1] > 1:
            mode = "RGBA" if is_transparent else "RGB"
            seen = np.broadcast_to(planes[..., :channels], (HEIGHT, WIDTH, 3)) >> 8
            np.testing.assert_array_equal(np.asarray(image.convert(mode))[..., :3], seen)
    if ending != ".png":
        np.testing.assert_array_equal(tifffile.imread(path), np.squeeze(written))
    # Learning sees all bits, too.
    unit = planes.astype(np.float64) / 65535
    opacity = unit[..., -1:] if is_transparent else 1
    expected = np.broadcast_to(unit[..., :channels] * opacity + 1 - opacity, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(images.read(path), expected, atol=2e-7)


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}])
@pytest.mark.parametrize("orientation", [1, 6])
def test_sixteen_bits_of_colour_are_read_from_other_programs(tmp_path, rng, options, orientation):
    deep = rng.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    tag = (274, 3, 1, orientation, True)
    tifffile.imwrite(tmp_path / "it.tif", deep, photometric="rgb", extratags=[tag], **options)
    upright = deep if orientation == 1 else np.rot90(deep, -1)
    np.testing.assert_array_equal(files.read(tmp_path / "it.tif").levels, upright)


def test_a_transparent_level_of_sixteen_bits_is_transparent(tmp_path):
    deep = np.full((HEIGHT, WIDTH), 1000, np.uint16)
    deep[0, 0] = 1001
    Image.fromarray(deep).save(tmp_path / "it.png", transparency=1001)
    photograph = files.read(tmp_path / "it.png")
    assert photograph.alpha[0, 0] == 0
    assert (photograph.alpha.ravel()[1:] == 65535).all()
    assert images.read(tmp_path / "it.png")[0, 0].tolist() == [1, 1, 1]


def test_inks_become_colours(tmp_path):
    # Paper, black, and the three inks.
    inks = np.zeros((1, 5, 4), np.uint8)
    inks[0, 1, 3] = inks[0, 2, 0] = inks[0, 3, 1] = inks[0, 4, 2] = 255
    image = Image.frombytes("CMYK", (5, 1), inks.tobytes())
    image.resize((40, 8), Image.Resampling.NEAREST).save(tmp_path / "inks.jpg", quality=100)
    colours = files.read(tmp_path / "inks.jpg").levels[4, 4::8]
    expected = [(255, 255, 255), (0, 0, 0), (0, 255, 255), (255, 0, 255), (255, 255, 0)]
    np.testing.assert_allclose(colours, expected, atol=12)


def test_inks_with_a_wrong_profile_become_colours(tmp_path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for icc_profile in (b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        image.save(tmp_path / "inks.jpg", quality=100, icc_profile=icc_profile)
        read = files.read(tmp_path / "inks.jpg")
        assert read.icc_profile is None
        np.testing.assert_allclose(read.levels[4, 4], (255, 0, 0), atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reading_turns_upright(tmp_path, orientation):
    """However the camera was held, the dark corner of the scene is at the same place."""
    scene = np.full((32, 48, 3), 200, np.uint8)
    scene[:16, :16] = 0
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo(scene))).save(tmp_path / "held.jpg", exif=exif, quality=100)
    read = files.read(tmp_path / "held.jpg")
    np.testing.assert_allclose(read.levels.astype(int), scene, atol=4)
    # Written pictures stay upright.
    files.write(tmp_path / "again.png", read)
    np.testing.assert_array_equal(files.read(tmp_path / "again.png").levels, read.levels)


@pytest.mark.parametrize("ending", files.ENDINGS)
def test_every_format_is_written_and_read(tmp_path, levels, ending):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    smooth = np.sort(levels, axis=1)  # Suits JPEG.
    photograph = Photograph(smooth[..., :3], smooth[..., 3], profile)
    files.write(tmp_path / f"it{ending}", photograph)
    again = files.read(tmp_path / f"it{ending}")
    if ending == ".bmp":  # BMP lays it on white.
        covered = photograph.alpha[..., None] / 255
        np.testing.assert_allclose(again.levels, covered * photograph.levels + 255 * (1 - covered), atol=0.51)
    elif ending in LOSSLESS:
        np.testing.assert_array_equal(again.levels, photograph.levels)
    assert again.levels.shape == photograph.levels.shape
    assert (again.alpha is None) == (ending in (".jpg", ".jpeg", ".bmp"))
    assert again.icc_profile == (None if ending == ".bmp" else profile)
    with Image.open(tmp_path / f"it{ending}") as image:
        assert ending == ".bmp" or "Synthetic" in image.getexif()[270]
    assert [path.name for path in tmp_path.iterdir()] == [f"it{ending}"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, levels):
    files.write(tmp_path / "it.png", Photograph(levels[..., :3]))
    before = (tmp_path / "it.png").read_bytes()

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        files.write(tmp_path / "it.png", Photograph(levels[..., 1:]))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_sides_beyond_the_formats_limit_are_rejected(tmp_path):
    path = tmp_path / "wide.webp"
    with pytest.raises(InputError, match=r"wide.webp: 17000 x 1 pixels cannot be written as webp: "):
        files.write(path, Photograph(np.zeros((1, 17_000, 3), np.uint8)))
    assert not path.exists()


@pytest.mark.parametrize(
    ("photograph", "words"),
    [
        (Photograph(np.zeros((9, 9, 3), np.int64)), "levels must be NumPy's uint8 or uint16, not int64;"),
        (Photograph(np.zeros((9, 9, 3), np.float32)), "not float32; files.to_levels makes them from"),
        (Photograph([[[0]]]), "not list;"),
        (Photograph(np.zeros((9, 9), np.uint8)), r"levels must be \(height, width, 1 or 3\), not \(9, 9\)"),
        (Photograph(np.zeros((9, 9, 4), np.uint8)), r"not \(9, 9, 4\)"),
        (
            Photograph(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint16)),
            r"alpha must be uint8 \(9, 9\) as its levels are, not uint16 \(9, 9\)",
        ),
        (
            Photograph(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8), np.uint8)),
            r"not uint8 \(9, 8\)",
        ),
    ],
)
def test_other_levels_are_refused(tmp_path, photograph, words):
    landmarks = expressions.Landmarks((3.0, 3.0), (6.0, 3.0))
    saved = pretrained.load("smile")
    for work in (
        lambda: files.write(tmp_path / "it.png", photograph),
        lambda: expressions.synthesize(saved.model, photograph, landmarks),
        lambda: expressions.put_back(photograph, None, None),
    ):
        with pytest.raises(InputError, match=words):
            work()
    assert not list(tmp_path.iterdir())


def test_levels_and_units_convert_exactly(rng):
    for dtype in (np.uint8, np.uint16):
        every = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
        np.testing.assert_array_equal(files.to_levels(files.to_unit(every), np.dtype(dtype)), every)
    np.testing.assert_array_equal(files.to_levels(np.array([-1.0, 2.0]), np.dtype(np.uint8)), [0, 255])


def test_clear_errors(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"there is no picture .*none.png"):
        files.read(tmp_path / "none.png")
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"cannot read .*words.jpg as a picture: cannot identify"):
        files.read(tmp_path / "words.jpg")
    photograph = Photograph(np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"written as .png, .*not '.xyz'"):
        files.write(tmp_path / "it.xyz", photograph)
    files.write(tmp_path / "it.png", photograph)
    monkeypatch.setattr(images, "MOST_PIXELS", 11)
    with pytest.raises(InputError, match="has 4 x 3 pixels, but must have 1 to 11; make it smaller"):
        files.read(tmp_path / "it.png")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"cannot read .*deep.tif.*70000"):
        files.read(tmp_path / "deep.tif")
