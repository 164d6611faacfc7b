"""`experiments.synthesize`, from its command line."""

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from mlr_jax import pretrained
from mlr_jax.photographs import files
from tests.experiments import scripts

EYES = "--eyes=203.5,101,246.2,103", "--mouth=223.5,140"


def run(*flags):
    return scripts.run("experiments.synthesize", *map(str, flags), optimize=False)


def done(*flags) -> list[str]:
    """Runs the script, and returns the files that it names as written."""
    process = run(*flags)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout.splitlines()


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


@pytest.fixture
def photo(tmp_path, astronaut):
    path = tmp_path / "photo.png"
    Image.fromarray(astronaut).save(path)
    return path


def test_only_the_face_changes(tmp_path, photo, astronaut):
    output = tmp_path / "out.png"
    assert done("--model=unsmile", f"--input={photo}", f"--output={output}", *EYES) == [str(output)]
    difference = files.read(output).levels.astype(int) - astronaut
    rows, columns = np.nonzero(difference.any(axis=-1))
    side = 43 / 0.39
    assert 101 - 0.5 * side < rows.min() < rows.max() < 101 + 0.8 * side
    assert 225 - 0.6 * side < columns.min() < columns.max() < 225 + 0.6 * side
    mouth = abs(difference[135:160, 205:245]).mean()
    assert mouth > 1.2 * abs(difference[70:85, 205:245]).mean(), "it is the mouth that changes most"


def test_intensity(tmp_path, photo, astronaut):
    changes = []
    for intensity in (0, 1, 2):
        output = tmp_path / f"{intensity}.png"
        done(f"--input={photo}", f"--output={output}", f"--intensity={intensity}", *EYES)
        changes.append(abs(files.read(output).levels.astype(int) - astronaut).mean())
    assert changes[0] == 0
    assert changes[2] > 1.5 * changes[1] > 0
    process = run(f"--input={photo}", "--intensity=3", *EYES)
    assert process.returncode != 0
    assert "intensity" in process.stderr


def test_example_pictures_have_names(tmp_path):
    written = done("--input=astronaut", "--input=cat", f"--output={tmp_path / 'new'}")
    assert written == [str(tmp_path / "new" / f"{name}-smile.png") for name in ("astronaut", "cat")]
    for path, before in zip(written, (data.astronaut(), data.chelsea()), strict=True):
        after = files.read(path).levels
        assert after.shape == before.shape
        assert (after != before).any()


def test_crop_only(tmp_path, photo):
    output = tmp_path / "crop.png"
    done(f"--input={photo}", f"--output={output}", "--crop_only", *EYES)
    assert files.read(output).levels.shape == (128, 128, 3)


def test_crops_keep_colour_profile_and_depth(tmp_path, astronaut):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    deep = astronaut[..., :1].astype(np.uint16) * 257
    files.write(tmp_path / "colour.png", files.Photograph(astronaut, icc_profile=profile))
    files.write(tmp_path / "deep.png", files.Photograph(deep))
    for name in ("colour", "deep"):
        output = f"--output={tmp_path / name}-crop.png"
        done(f"--input={tmp_path / name}.png", output, "--crop_only", *EYES)
    assert files.read(tmp_path / "colour-crop.png").icc_profile == profile
    assert files.read(tmp_path / "deep-crop.png").levels.dtype == np.uint16


# The film reader leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_animations(tmp_path, photo, astronaut, ending):
    film = tmp_path / f"film.{ending}"
    options = ("--animation_size=160", f"--output={tmp_path / 'out.png'}")
    written = done(f"--input={photo}", f"--animate={film}", *options, *EYES)
    assert written == [str(tmp_path / "out.png"), str(film)]
    frames = iio.imread(film, index=None, plugin="pillow" if ending == "gif" else "FFMPEG").astype(int)
    # A GIF shows one frame for longer instead of two equal frames.
    assert len(frames) == 46 or (ending == "gif" and 40 < len(frames) < 46)
    assert frames.shape[1:] == (160, 160, 3)
    first, middle = frames[0], frames[len(frames) // 2]
    reduced = np.asarray(Image.fromarray(astronaut).resize((160, 160), Image.Resampling.LANCZOS)).astype(int)
    assert abs(first - reduced).mean() < 8, "it begins with the photograph"
    mouth = slice(40, 52), slice(62, 78)
    assert abs(middle - first)[mouth].mean() > 3 * abs(middle - first)[:20].mean()
    changes = abs(frames - first)[:, mouth[0], mouth[1]].mean(axis=(1, 2, 3))
    assert changes.argmax() in range(20, 27), "there"
    assert changes[-1] < 0.2 * changes.max(), "and back"


def test_transparent_pixels_are_white_in_an_animation(tmp_path, astronaut):
    alpha = np.full(astronaut.shape[:2], 255, np.uint8)
    alpha[400:] = 0
    files.write(tmp_path / "photo.png", files.Photograph(astronaut, alpha))
    film, options = tmp_path / "film.gif", ("--animation_size=64", f"--output={tmp_path / 'out.png'}")
    done(f"--input={tmp_path / 'photo.png'}", f"--animate={film}", *options, *EYES)
    assert iio.imread(film, index=0)[54:].min() > 240


def test_a_gif_keeps_the_colours_of_the_face(tmp_path, astronaut):
    """An adaptive palette for each picture had an error of 5.9 levels at the mouth, and -5 of red there."""
    film = tmp_path / "film.gif"
    options = ("--model=unsmile", f"--output={tmp_path / 'out.png'}", "--animation_size=480")
    done("--input=astronaut", f"--animate={film}", *options)
    frames = iio.imread(film, index=None, plugin="pillow").astype(int)
    assert len(frames) == 46
    reduced = np.asarray(Image.fromarray(astronaut).resize((480, 480), Image.Resampling.LANCZOS)).astype(int)
    mouth = slice(124, 140), slice(194, 226)
    error = (frames[0] - reduced)[mouth]
    assert abs(error).mean() < 3.5
    assert abs(error.mean(axis=(0, 1))).max() < 2
    redness = reduced[mouth] @ (2, -1, -1)
    reddest = redness >= np.quantile(redness, 0.95)
    assert abs(error[reddest].mean(axis=0)).max() < 6
    assert abs(frames[0] - reduced).mean() < 5
    still = (frames == frames[0]).all(axis=(0, -1))
    assert still[200:].all(), "what does not change does not flicker"
    assert film.stat().st_size < 1_000_000
    with Image.open(film) as image:
        label = (
            "Synthetic: facial expression changed by a program (model unsmile, intensity 1, detail transfer)"
        )
        assert image.info["comment"].decode() == label


def test_names_and_metadata_tell_model_and_intensity(tmp_path):
    written = []
    for flags in ((), ("--intensity=0.5",), ("--model=unsmile",), ("--detail=none",), ("--crop_only",)):
        written += done("--input=astronaut", f"--output={tmp_path / 'out'}", *flags)
    names = ["smile", "smile-0.5", "unsmile", "smile-detail-none", "smile-crop"]
    assert written == [str(tmp_path / "out" / f"astronaut-{name}.png") for name in names]
    labels = []
    for path in written:
        with Image.open(path) as image:
            labels.append(image.getexif()[270])
    assert all(label.startswith("Synthetic: ") for label in labels)
    assert [label[label.index("(") :] for label in labels] == [
        "(model smile, intensity 1, detail transfer)",
        "(model smile, intensity 0.5, detail transfer)",
        "(model unsmile, intensity 1, detail transfer)",
        "(model smile, intensity 1, detail none)",
        "(model smile, intensity 1)",
    ]


def test_sixteen_bits_stay_outside_the_face(tmp_path, astronaut, rng):
    deep = astronaut.astype(np.uint16) * 256 + rng.integers(0, 256, astronaut.shape, dtype=np.uint16)
    files.write(tmp_path / "deep.tif", files.Photograph(deep))
    for ending in (".png", ".tif"):
        done(f"--input={tmp_path / 'deep.tif'}", f"--output={tmp_path / 'out'}{ending}", *EYES)
        after = files.read(tmp_path / f"out{ending}").levels
        assert after.dtype == np.uint16
        np.testing.assert_array_equal(after[200:], deep[200:])
        assert (after[101:160, 190:250] != deep[101:160, 190:250]).mean() > 0.9
    process = run(f"--input={tmp_path / 'deep.tif'}", f"--output={tmp_path / 'out.jpg'}", *EYES)
    assert process.returncode == 0
    (line,) = process.stderr.splitlines()
    assert line.startswith(
        f"note: {tmp_path / 'deep.tif'} has 16 bits a channel, of which .jpg holds 8; .png,"
    )


def test_no_file_of_a_folder_is_passed_over_without_a_word(tmp_path, astronaut):
    folder = tmp_path / "photos"
    folder.mkdir()
    small = Image.fromarray(astronaut).resize((256, 256))
    endings = (".jfif", ".avif", ".gif", ".jp2")
    for ending in endings:
        small.save(folder / f"it{ending}", format="JPEG" if ending == ".jfif" else None)
    (folder / "raw.cr2").write_bytes(b"raw")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    (folder / ".hidden.png").write_bytes(b"")
    rows = [
        "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y"
    ]
    rows += [f"it{ending},101,50,123,51,104,72,120,72" for ending in endings]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    output = tmp_path / "out"
    process = run(f"--input={folder}", f"--landmarks={tmp_path / 'table.csv'}", f"--output={output}")
    assert process.returncode == 1
    assert sorted(process.stdout.splitlines()) == sorted(
        str(output / f"it{ending}-smile.png") for ending in endings
    )
    note, error, last = process.stderr.splitlines()
    assert note == (f"note: {folder}: passed over 1 of 6 files, which are no readable pictures: raw.cr2")
    assert error.startswith(f"error: cannot read {folder}/phone.heic as a picture: ")
    assert last == "error: 1 of 5 photographs, as said above; the others are done"


def test_folders_tables_and_mistakes(tmp_path, astronaut):
    """One bad photograph does not spoil the others."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg", "c.png"):
        Image.fromarray(astronaut).save(folder / name)
    (folder / "c.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    table = tmp_path / "landmarks.csv"
    table.write_text(
        "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y\n"
        + "".join(f"{name},203.5,101,246.2,103,208,146,240,145\n" for name in ("a.png", "c.png"))
    )
    output = tmp_path / "out"
    process = run(f"--input={folder}", f"--landmarks={table}", f"--output={output}")
    assert process.returncode == 1
    assert process.stdout.splitlines() == [str(output / "a-smile.png")]
    note, first, second, last = process.stderr.splitlines()
    assert note.endswith("passed over 1 of 4 files, which are no readable pictures: notes.txt")
    assert first == f"error: {folder}/b.jpg: --landmarks: {table} has no row for b.jpg"
    assert second == f"error: cannot read {folder}/c.png as a picture: cannot identify its format"
    assert last == "error: 2 of 3 photographs, as said above; the others are done"


def test_photographs_compile_nothing(tmp_path, astronaut):
    """Neither the first one, nor others of other sizes, nor an animation."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = [
        "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y"
    ]
    for number, size in enumerate((200, 311, 512)):
        Image.fromarray(astronaut).resize((size, size)).save(folder / f"{number}.png")
        eyes = (np.array([203.5, 101, 246.2, 103, 208, 146, 240, 145]) * size / 512).tolist()
        rows.append(",".join(map(str, (f"{number}.png", *eyes))))
    table = tmp_path / "landmarks.csv"
    table.write_text("\n".join(rows))
    output = f"--output={tmp_path / 'out'}"
    for flags in (
        (f"--input={folder}", f"--landmarks={table}", output),
        ("--input=astronaut", output, f"--animate={tmp_path / 'film.gif'}", "--animation_size=64"),
    ):
        process = scripts.start("experiments.synthesize", *flags, environment={"JAX_LOG_COMPILES": "1"})
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert said == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--input is missing: a photograph, a folder of them, or astronaut or cat"),
        (("--input=none.jpg",), "there is no picture none.jpg"),
        (("--input=PHOTO", "--eyes=1,2,3"), "--eyes must be 4 numbers with commas between, not 1,2,3"),
        (("--input=PHOTO", "--mouth=1,2"), "--mouth needs --eyes"),
        (("--input=PHOTO", "--eyes=9,9,9,9"), "the eyes (9, 9) and (9, 9) must be two points"),
        (("--input=PHOTO", "--output=PHOTO"), "is the photograph itself; choose another name"),
        (("--input=PHOTO", "--output=/no/such/folder/a.png"), "--output: there is no folder /no/such/folder"),
        (
            ("--input=PHOTO", "--input=cat", "--output=x.png"),
            "x.png is one file, but there are 2 photographs",
        ),
        (("--input=PHOTO", "--input=cat", "--eyes=1,2,3,4"), "--eyes is for one photograph, and there are 2"),
        (("--input=PHOTO", "--input=PHOTO"), "--input: two photographs would both become"),
        (("--input=cat", "--animate=film.avi"), "--animate: film.avi must end in .gif or .mp4"),
        (("--input=cat", "--model=none.npz"), "there is no file none.npz, and no such pretrained model"),
        (("--input=cat", "--model=smiel"), "did you mean smile?"),
        (
            ("--input=cat", "--output=x.heic"),
            "written as .png, .jpg, .jpeg, .tif, .tiff, .webp, .bmp, not .heic",
        ),
        (("--input=cat", "--output=results.v2"), "the name of a new folder with a dot ends in /"),
        (("--input=cat", "--animate=/no/such/folder/a.gif"), "--animate: there is no folder /no/such/folder"),
        (("--input=cat", "--animate=a.gif", "--crop_only"), "--crop_only and --animate do not go together"),
        (("--input=cat", "--eyes=1,2,3,4", "--face=0"), "--eyes and --face do not go together"),
        (("--input=PHOTO", "--eyes=1,2,3,4", "--landmarks=a.csv"), "--eyes and --landmarks do not go"),
        (("--input=cat", "--output=a.gif"), "not .gif; animations by --animate"),
        (("--input=cat", "--output=/dev/null/a"), "--output: cannot make the folder /dev/null/a"),
        (("--input=cat", "--intensity=nan"), "--intensity must be a number from 0 to 2"),
        (("--input=cat", "--template=0,0.3,0.7"), "--template: a template must have an eye_distance"),
        (("--input=cat", "--template=1"), "--template must be 3 numbers with commas between, not 1"),
    ],
)
def test_mistakes_get_one_line(tmp_path, photo, flags, words):
    flags = [flag.replace("PHOTO", str(photo)) for flag in flags]
    if not any(flag.startswith("--output") for flag in flags):
        flags.append(f"--output={tmp_path / 'out'}")
    process = run(*flags)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (tmp_path / "out").exists(), "a failed run leaves no empty folder"


def test_photographs_are_not_overwritten(tmp_path, photo):
    """Neither by the result of another photograph, nor by an animation."""
    other, gif = tmp_path / "photo-smile.png", tmp_path / "photo.gif"
    other.write_bytes(photo.read_bytes())
    Image.open(photo).save(gif)
    before = gif.read_bytes()
    for place, flags in (
        (other, (f"--input={photo}", f"--input={other}", f"--output={tmp_path}")),
        (gif, (f"--input={gif}", f"--output={tmp_path / 'out.png'}", f"--animate={gif}", *EYES)),
    ):
        process = run(*flags)
        assert process.returncode == 1
        assert f"{place} is the photograph itself; choose another name" in process.stderr
    assert other.read_bytes() == photo.read_bytes()
    assert gif.read_bytes() == before


def test_faces_are_found(tmp_path, photo, astronaut):
    pytest.importorskip("mediapipe", reason="the extra 'align' is not installed", exc_type=ImportError)
    by_itself, pointed_out = tmp_path / "itself.png", tmp_path / "out.png"
    done(f"--input={photo}", f"--output={by_itself}")
    done(f"--input={photo}", f"--output={pointed_out}", *EYES)
    one, other = (files.read(path).levels.astype(int) - astronaut for path in (by_itself, pointed_out))
    assert abs(one - other).mean() < 0.5 * abs(one).mean()
    two = tmp_path / "two.png"
    Image.fromarray(np.concatenate([astronaut, astronaut], axis=1)).save(two)
    process = run(f"--input={two}", f"--output={tmp_path / 'neither.png'}")
    assert process.returncode == 1
    assert "there are 2 faces (left eyes: 0 at (20" in process.stderr
    assert "--face=largest, all or a number" in process.stderr
    done(f"--input={two}", f"--output={tmp_path / 'second.png'}", "--face=1")
    changed = (files.read(tmp_path / "second.png").levels != files.read(two).levels).any(axis=(0, 2))
    assert not changed[:512].any()
    assert changed[512:].any()
    cat = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(cat)
    process = run(f"--input={cat}", f"--output={tmp_path / 'no.png'}")
    assert process.returncode == 1
    assert "no face was found; say where the eyes are (--eyes=x1,y1,x2,y2)" in process.stderr


@pytest.mark.long
def test_from_training_to_a_photograph(tmp_path, photo, astronaut):
    """Trains on drawn faces, and applies the model in another process to a photograph of another size."""
    model = tmp_path / "model.npz"
    trained = scripts.run(
        "experiments.train",
        "--num_subjects=24",
        "--image_size=32",
        "--weights=float16",
        f"--model={model}",
        f"--output_dir={tmp_path / 'train'}",
        optimize=False,
    )
    assert trained.returncode == 0, trained.stderr
    large = tmp_path / "large.png"
    Image.fromarray(astronaut).resize((1024, 1024)).save(large)
    output = tmp_path / "large-smile.png"
    eyes = ",".join(str(2 * float(number)) for number in EYES[0].removeprefix("--eyes=").split(","))
    done(f"--model={model}", f"--input={large}", f"--output={output}", f"--eyes={eyes}")
    before, after = files.read(large).levels, files.read(output).levels
    changed = (before != after).any(axis=-1)
    assert changed[280:300, 420:480].mean() > 0.9, "inside"
    assert not changed[400:].any(), "outside"
    assert not changed[:, :280].any()
    assert not changed[:, 620:].any()


def test_a_model_without_template_needs_the_flag(tmp_path, photo):
    from mlr_jax import model_file

    saved = pretrained.load("smile")
    path = tmp_path / "whole.npz"
    model_file.save(path, saved.model, metadata=saved.metadata)
    process = run(f"--model={path}", f"--input={photo}", f"--output={tmp_path / 'out.png'}", *EYES)
    assert process.returncode == 1
    assert "does not say where its faces have eyes and mouth" in process.stderr
    template = "--template=0.39,0.36,0.78"
    done(f"--model={path}", f"--input={photo}", f"--output={tmp_path / 'out.png'}", template, *EYES)
    done(f"--input={photo}", f"--output={tmp_path / 'same.png'}", *EYES)
    one, other = (files.read(tmp_path / f"{name}.png").levels for name in ("out", "same"))
    np.testing.assert_array_equal(one, other)
