r"""Puts a smile, or any learned expression, on faces in photographs.

    python -m experiments.synthesize --model=smile --input=photo.jpg --output=smile.jpg
    python -m experiments.synthesize --model=unsmile --input=astronaut --animate=unsmile.gif
    python -m experiments.synthesize --model=model.npz --input=FOLDER --output=FOLDER_FOR_RESULTS --face=all

--model is a pretrained model (mlr_jax/pretrained/README.md) or a file that `experiments.train` wrote. --input
is a photograph, a folder of them, or "astronaut" or "cat", which scikit-image carries; it may be given
several times. The extra `align` finds faces. Without it, and for drawings and animals, give the eyes:
--eyes=x1,y1,x2,y2 and, to fit better, --mouth=x,y, in pixels; or --landmarks, a table with the columns file,
left_eye_x, left_eye_y, right_eye_x, right_eye_y, mouth_left_x, mouth_left_y, mouth_right_x and mouth_right_y.
Left and right are as seen in the picture, with the head upright.

The photograph keeps its size, and pixels outside the face keep their values. --output names a file for one
photograph, else a folder; by default runs/synthesize. Several faces in one photograph need --face: largest,
all, or a number from left to right, the leftmost being 0.

Change only pictures of people who agree to it, and label the results as synthetic.
"""

import difflib
import io
import math
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
from absl import flags
from PIL import Image

from experiments.pictures import gif, out_of_distribution
from experiments.running import native_log, run_folder, script
from mlr_jax import alignment, checks, images, model_file, pretrained
from mlr_jax.datasets.landmarks import parse_number, read_landmarks
from mlr_jax.model_file import SavedModel
from mlr_jax.photographs import expressions, faces, files
from mlr_jax.photographs.expressions import Landmarks
from mlr_jax.photographs.files import Photograph

_PORTRAITS = {"astronaut": out_of_distribution.astronaut, "cat": out_of_distribution.cat}
_ANIMATIONS = (".gif", ".mp4")
_FRAMES = 24  # from one end of an animation to the other
_FRAMES_PER_SECOND = 24

_MODEL = flags.DEFINE_string(
    "model", "smile", f"File of a model, or a pretrained one: {', '.join(pretrained.NAMES)}."
)
_INPUT = flags.DEFINE_multi_string(
    "input", [], f"A photograph, a folder of them, or {' or '.join(_PORTRAITS)}; may be repeated."
)
_OUTPUT = flags.DEFINE_string("output", None, "File of the result, or folder of several.")
_INTENSITY = flags.DEFINE_float(
    "intensity", 1.0, "How much of the change: 0 is none, 1 as learned.", lower_bound=0, upper_bound=2
)
_DETAIL = flags.DEFINE_enum(
    "detail",
    "transfer",
    get_args(expressions.Detail),
    "transfer: add the change to the photograph, which keeps its details; none: replace the face.",
)
_ANIMATE = flags.DEFINE_string(
    "animate", None, "File of an animation, there and back: .gif, or .mp4 if imageio-ffmpeg is installed."
)
_ANIMATION_SIZE = flags.DEFINE_integer(
    "animation_size", 480, "Longer side of an animation in pixels, at most.", lower_bound=16
)
_CROP_ONLY = flags.DEFINE_bool(
    "crop_only", False, "Write the aligned face alone, of the size of the model's pictures."
)
_EYES = flags.DEFINE_list("eyes", None, "x1,y1,x2,y2: the middles of the left and the right eye.")
_MOUTH = flags.DEFINE_list("mouth", None, "x,y: the middle of the mouth; with --eyes.")
_LANDMARKS = flags.DEFINE_string("landmarks", None, "Table of eyes and corners of mouths, by file.")
_FACE = flags.DEFINE_string("face", None, "Which face, if there are several: largest, all, or a number.")
_TEMPLATE = flags.DEFINE_list(
    "template",
    None,
    "Where eyes and mouth are in the model's pictures, if its file does not say: distance between the eyes, "
    "height of the eyes and height of the mouth, as parts of the side.",
)


class _Job(NamedTuple):
    """A photograph to be changed."""

    name: str
    path: Path | None  # None for a portrait that scikit-image carries
    output: Path


def synthesize() -> None:
    """Changes the faces of all photographs."""
    _check_flags()
    saved = _load_model()
    jobs = _jobs()
    table = None if _LANDMARKS.value is None else read_landmarks(Path(_LANDMARKS.value).expanduser())
    num_failed = 0
    for job in jobs:
        # An error in one photograph does not stop the others.
        try:
            written = _change(saved, job, table)
        except (checks.InputError, OSError) as error:
            if len(jobs) == 1:
                raise
            named = "" if job.name in str(error) else f"{job.name}: "
            print(f"error: {named}{error}", file=sys.stderr)
            num_failed += 1
        else:
            print(*written, sep="\n", flush=True)
    if num_failed:
        sys.exit(f"error: {num_failed} of {len(jobs)} photographs, as said above; the others are done")


def _change(saved: SavedModel, job: _Job, table: Mapping[str, np.ndarray] | None) -> list[Path]:
    """Changes the faces of one photograph, and returns the files that it wrote."""
    template = cast(alignment.FaceTemplate, saved.template)
    photograph, everyone = _open(job, table)
    if _CROP_ONLY.value:
        written = []
        for number, landmarks in enumerate(everyone):
            cutout = expressions.cut_out(photograph, landmarks, expressions.model_size(saved.model), template)
            face = np.asarray(expressions.effect(saved.model, cutout, intensity=_INTENSITY.value).output)
            name = job.output.stem + (f"-{number}" if len(everyone) > 1 else "")
            written.append(job.output.with_stem(name))
            levels = files.to_levels(face, photograph.levels.dtype)
            files.write(written[-1], Photograph(levels, icc_profile=photograph.icc_profile), how=_how())
            _note_depth(job, levels)
        return written

    folded: list[int] = []

    def changed(photograph: Photograph, everyone: Sequence[Landmarks], intensity: float) -> Photograph:
        for landmarks in everyone:
            cutout = expressions.cut_out(photograph, landmarks, expressions.model_size(saved.model), template)
            effect = expressions.effect(saved.model, cutout, intensity=intensity)
            folded.append(0 if effect.num_folded is None else int(effect.num_folded))
            detail = cast(expressions.Detail, _DETAIL.value)
            photograph = expressions.put_back(photograph, cutout, effect, detail=detail)
        return photograph

    files.write(job.output, changed(photograph, everyone, _INTENSITY.value), how=_how())
    _note_depth(job, photograph.levels)
    if any(folded):
        where = f"{max(folded)} of {expressions.model_size(saved.model) ** 2} pixels of a face"
        print(
            f"note: {job.name}: the displacement folded at {where}, and was smoothed there", file=sys.stderr
        )
    if _ANIMATE.value is None:
        return [job.output]
    small, scale = _reduce(photograph, _ANIMATION_SIZE.value)
    placed = [_scale(landmarks, scale) for landmarks in everyone]
    # Slower at both ends, where the animation reverses.
    rising = (1 - np.cos(np.linspace(0, np.pi, _FRAMES))) / 2
    there = [changed(small, placed, part * _INTENSITY.value) for part in rising]
    animation = Path(_ANIMATE.value).expanduser()
    _write_animation(animation, [*there, *there[-2:0:-1]])
    return [job.output, animation]


def _how() -> str:
    """What a result's metadata say."""
    detail = "" if _CROP_ONLY.value else f", detail {_DETAIL.value}"
    return f"model {Path(_MODEL.value).name}, intensity {_INTENSITY.value:g}{detail}"


def _note_depth(job: _Job, levels: np.ndarray) -> None:
    if levels.dtype != np.uint8 and job.output.suffix.lower() not in files.DEEP_ENDINGS:
        print(
            f"note: {job.name} has 16 bits a channel, of which {job.output.suffix} holds 8; "
            f"{', '.join(files.DEEP_ENDINGS)} hold all",
            file=sys.stderr,
        )


def _open(job: _Job, table: Mapping[str, np.ndarray] | None) -> tuple[Photograph, list[Landmarks]]:
    """A photograph, and the landmarks of its faces."""
    if job.path is None:
        portrait = _PORTRAITS[job.name]()
        photograph = Photograph(files.to_levels(portrait.picture, np.dtype(np.uint8)))
        return photograph, [_given_landmarks() or Landmarks(*portrait[1:])]
    photograph = files.read(job.path)
    given = _given_landmarks()
    if given:
        return photograph, [given]
    if table is not None:
        if job.path.name not in table:
            raise checks.InputError(f"--landmarks: {_LANDMARKS.value} has no row for {job.path.name}")
        left_eye, right_eye, *corners = table[job.path.name]
        return photograph, [Landmarks(*map(_pair, (left_eye, right_eye, np.mean(corners, axis=0))))]
    with native_log.discarded():
        everyone = faces.find(photograph.levels)
    return photograph, [face.landmarks for face in faces.choose(everyone, _FACE.value)]


def _load_model() -> SavedModel:
    name = _MODEL.value
    if name not in pretrained.NAMES and not Path(name).expanduser().exists():
        near = difflib.get_close_matches(name, pretrained.NAMES)
        hint = f"did you mean {near[0]}?" if near else f"pretrained are {', '.join(pretrained.NAMES)}"
        raise checks.InputError(f"--model: there is no file {name}, and no such pretrained model; {hint}")
    saved = pretrained.load(name) if name in pretrained.NAMES else model_file.load(Path(name).expanduser())
    if _TEMPLATE.value is not None:
        parts = zip(alignment.FaceTemplate._fields, _numbers("template", _TEMPLATE.value, 3), strict=True)
        return saved._replace(template=model_file.parse_template("--template", dict(parts)))
    if saved.template is None:
        measured = (saved.metadata or {}).get("measured_template")
        said = (
            f"in some of them they were found at --template={measured}"
            if measured
            else "say it with --template=DISTANCE,EYES,MOUTH: the distance of the eyes, and the heights of "
            "eyes and mouth from the top, as parts of the side, measured in a training picture"
        )
        raise checks.InputError(
            f"{name} does not say where its faces have eyes and mouth, since it has learned from pictures "
            f"that were taken whole; {said}"
        )
    return saved


def _check_flags() -> None:
    """Raises InputError if flags exclude each other, so that none is silently ignored."""
    if math.isnan(_INTENSITY.value):
        raise checks.InputError("--intensity must be a number from 0 to 2")
    for one, other in ((_EYES, _LANDMARKS), (_EYES, _FACE), (_LANDMARKS, _FACE), (_CROP_ONLY, _ANIMATE)):
        if one.value and other.value is not None:
            raise checks.InputError(f"--{one.name} and --{other.name} do not go together; leave one out")
    if _ANIMATE.value is not None:
        animation = Path(_ANIMATE.value).expanduser()
        if animation.suffix.lower() not in _ANIMATIONS:
            raise checks.InputError(f"--animate: {animation} must end in {' or '.join(_ANIMATIONS)}")
        if not animation.parent.is_dir():
            raise checks.InputError(f"--animate: there is no folder {animation.parent}")


def _jobs() -> list[_Job]:
    """The photographs to change, with their output files."""
    sources: list[tuple[str, Path | None]] = []
    for each in _INPUT.value:
        path = Path(each).expanduser()
        if path.is_dir():
            inside = [path / file for file in images.names_in(path)]
            if not inside:
                raise checks.InputError(f"--input: there are no photographs in {path}")
            sources += [(str(file), file) for file in inside]
        elif each in _PORTRAITS and not path.exists():
            sources.append((each, None))
        else:
            sources.append((each, path))
    if not sources:
        raise checks.InputError(
            f"--input is missing: a photograph, a folder of them, or {' or '.join(_PORTRAITS)}"
        )
    several = [flag.name for flag in (_EYES, _MOUTH, _ANIMATE) if flag.value is not None and len(sources) > 1]
    if several:
        raise checks.InputError(f"--{several[0]} is for one photograph, and there are {len(sources)}")
    return _with_outputs(sources)


def _with_outputs(sources: Sequence[tuple[str, Path | None]]) -> list[_Job]:
    output = None if _OUTPUT.value is None else Path(_OUTPUT.value).expanduser()
    is_folder = output is None or output.is_dir() or str(_OUTPUT.value).endswith("/")
    ending = "" if output is None or is_folder else output.suffix.lower()
    if ending and ending not in files.ENDINGS:
        raise checks.InputError(
            f"--output: pictures are written as {', '.join(files.ENDINGS)}, not {ending}; animations by "
            "--animate; the name of a new folder with a dot ends in /"
        )
    if output is not None and ending in files.ENDINGS:
        if len(sources) > 1:
            raise checks.InputError(
                f"--output: {output} is one file, but there are {len(sources)} photographs; name a folder"
            )
        if not output.parent.is_dir():
            raise checks.InputError(f"--output: there is no folder {output.parent}")
        ((name, path),) = sources
        jobs = [_Job(name, path, output)]
    else:
        folder = run_folder.create(str(output or "runs/synthesize"), flag="output")
        jobs = []
        stems = Counter(Path(name).stem for name, _ in sources)
        for name, path in sources:
            # A telephone's photo.jpg may lie beside its photo.heic.
            stem = Path(name).stem if stems[Path(name).stem] == 1 else Path(name).name
            # PNG loses nothing; JPEG only where --output names it.
            jobs.append(_Job(name, path, folder / f"{stem}-{_variant()}.png"))
    written = Counter(job.output for job in jobs)
    inputs = {path.resolve() for _, path in sources if path is not None}
    animation = () if _ANIMATE.value is None else (("animate", Path(_ANIMATE.value).expanduser()),)
    for flag, place in (*(("output", place) for place in written), *animation):
        if place.resolve() in inputs:
            raise checks.InputError(f"--{flag}: {place} is the photograph itself; choose another name")
    for place, times in written.items():
        if times > 1:
            raise checks.InputError(f"--input: two photographs would both become {place}; do them one by one")
    return jobs


def _variant() -> str:
    """All that makes results of one photograph differ, for their names."""
    parts = [Path(_MODEL.value).stem]
    if _INTENSITY.value != 1:
        parts.append(f"{_INTENSITY.value:g}")
    if _CROP_ONLY.value:
        parts.append("crop")
    elif _DETAIL.value != "transfer":
        parts.append(f"detail-{_DETAIL.value}")
    return "-".join(parts)


def _given_landmarks() -> Landmarks | None:
    """The landmarks that --eyes and --mouth give, if any."""
    if _EYES.value is None:
        if _MOUTH.value is not None:
            raise checks.InputError("--mouth needs --eyes")
        return None
    x1, y1, x2, y2 = _numbers("eyes", _EYES.value, 4)
    if _MOUTH.value is None:
        return Landmarks((x1, y1), (x2, y2))
    x, y = _numbers("mouth", _MOUTH.value, 2)
    return Landmarks((x1, y1), (x2, y2), (x, y))


def _numbers(flag: str, texts: Sequence[str], count: int) -> list[float]:
    numbers = [parse_number(text) for text in texts]
    if len(numbers) != count or None in numbers:
        raise checks.InputError(
            f"--{flag} must be {count} numbers with commas between, not {','.join(texts)}"
        )
    return cast(list[float], numbers)


def _pair(point: np.ndarray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _reduce(photograph: Photograph, longest: int) -> tuple[Photograph, np.ndarray]:
    """The photograph with sides of at most `longest` pixels, in 8 bits, and its scale, (x, y).

    Transparent parts become white, as films have no transparency.
    """
    height, width = photograph.levels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    # Films need even sides.
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    picture = files.to_unit(photograph.levels)
    if photograph.alpha is not None:
        picture = 1 - files.to_unit(photograph.alpha)[..., None] * (1 - picture)
    levels = files.to_levels(picture, np.dtype(np.uint8))
    resized = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).resize(
        size, Image.Resampling.LANCZOS
    )
    return Photograph(np.asarray(resized).reshape(size[1], size[0], -1)), np.divide(size, (width, height))


def _scale(landmarks: Landmarks, scale: np.ndarray) -> Landmarks:
    def place(point: Sequence[float]) -> tuple[float, float]:
        return _pair((np.array(point) + 0.5) * scale - 0.5)

    left_eye, right_eye, mouth = landmarks
    return Landmarks(place(left_eye), place(right_eye), None if mouth is None else place(mouth))


def _write_animation(path: Path, frames: Sequence[Photograph]) -> None:
    pictures = np.stack([np.broadcast_to(frame.levels, (*frame.levels.shape[:2], 3)) for frame in frames])
    label, seconds = files.describe(_how()), 1 / _FRAMES_PER_SECOND
    # Encoded first, so that the file is always the old one or the new one.
    if path.suffix.lower() == ".gif":
        content = gif.encode(list(pictures), seconds=seconds, comment=label)
    else:
        content = _film(path, pictures, label)
    run_folder.write_bytes(path, content)


def _film(path: Path, pictures: np.ndarray, label: str) -> bytes:
    import imageio.v3 as iio  # Slow to import.

    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # This fork is safe: it executes another program at once.
            warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
            iio.imwrite(
                content,
                pictures,
                extension=".mp4",
                plugin="FFMPEG",
                fps=_FRAMES_PER_SECOND,
                macro_block_size=2,
                quality=10,  # The best, as the change from frame to frame is small.
                output_params=["-metadata", f"comment={label}"],
            )
    except ImportError as error:
        raise checks.InputError(f"{path}: films need another package: pip install imageio-ffmpeg") from error
    return content.getvalue()


if __name__ == "__main__":
    script.run(synthesize)
