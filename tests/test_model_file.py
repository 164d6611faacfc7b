import io
import json
import struct
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import array_file, atomic_file, masks, model_file, synthesis, windows
from mlr_jax.alignment import FaceTemplate
from mlr_jax.checks import InputError

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 4, 5
TEMPLATE = FaceTemplate(0.4, 0.35, 0.75)
METADATA = {"target": "happy", "number": 0.1, "list": [1, None, {"é": True}]}


def make(rng, window, dtype=np.float32):
    """A random model that includes -0 and a subnormal number."""
    num = len(window.offsets) if isinstance(window, windows.Window) else window.indices.shape[1]
    weights = rng.standard_normal((3, num, 1, HEIGHT, WIDTH)).astype(dtype)
    weights.flat[:2] = -0.0, 1e-40
    bias = rng.standard_normal((3, HEIGHT, WIDTH)).astype(dtype)
    return synthesis.ExpressionModel(jnp.asarray(weights), jnp.asarray(bias), window)


def assert_same(saved, other):
    for one, two in zip(jax.tree.leaves(saved.model), jax.tree.leaves(other.model), strict=True):
        assert one.dtype == two.dtype
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    assert type(saved.model.window) is type(other.model.window)
    if isinstance(saved.model.window, windows.Window):
        assert saved.model.window == other.model.window
    assert saved[1:] == other[1:]


@pytest.fixture
def model(rng):
    return make(rng, windows.disk(1))


@pytest.fixture
def path(tmp_path, model):
    """The path of a file with that model."""
    model_file.save(tmp_path / "model.npz", model, template=TEMPLATE, metadata=METADATA)
    return tmp_path / "model.npz"


@pytest.mark.parametrize(
    "window", [windows.disk(1), windows.square(3), masks.dilated_mask(HEIGHT, WIDTH, 3, 1)]
)
def test_load_returns_the_same_bits(tmp_path, rng, window):
    before = make(rng, window)
    model_file.save(tmp_path / "model.npz", before, template=TEMPLATE, metadata=METADATA)
    saved = model_file.load(tmp_path / "model.npz")
    assert_same(saved, model_file.SavedModel(before, TEMPLATE, METADATA))
    pictures = rng.random((2, HEIGHT, WIDTH, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        synthesis.synthesize(saved.model, pictures), synthesis.synthesize(before, pictures)
    )
    model_file.save(tmp_path / "model.npz", before)
    assert model_file.load(tmp_path / "model.npz")[1:] == (None, {})


def test_shared_and_joint_models_are_loaded(tmp_path, rng):
    for out_channels, in_channels in ((1, 1), (3, 3)):
        weights = jnp.asarray(rng.random((out_channels, 5, in_channels, HEIGHT, WIDTH)), jnp.float32)
        model = synthesis.ExpressionModel(weights, weights[:, 0, 0], windows.disk(1))
        model_file.save(tmp_path / "model.npz", model)
        saved = model_file.load(tmp_path / "model.npz")
        assert_same(saved, model_file.SavedModel(model, None, {}))


def test_half_precision_on_disk_is_single_in_memory(tmp_path, model):
    model_file.save(tmp_path / "half.npz", model, dtype=np.float16)
    with np.load(tmp_path / "half.npz") as file:
        assert file["weights"].dtype == file["bias"].dtype == np.float16
    weights = model_file.load(tmp_path / "half.npz").model.weights
    assert weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, np.asarray(model.weights).astype(np.float16))


def test_double_precision_is_kept_on_request(tmp_path, rng, x64):
    before = make(rng, windows.square(3), np.float64)
    model_file.save(tmp_path / "model.npz", before)
    assert model_file.load(tmp_path / "model.npz").model.weights.dtype == jnp.float32
    model_file.save(tmp_path / "model.npz", before, dtype=np.float64)
    model = model_file.load(tmp_path / "model.npz").model
    np.testing.assert_array_equal(model.weights, before.weights)
    with jax.enable_x64(False):
        model = model_file.load(tmp_path / "model.npz").model
    assert model.weights.dtype == jnp.float32
    np.testing.assert_array_equal(model.weights, np.asarray(before.weights).astype(np.float32))


def test_the_same_model_gives_the_same_file(tmp_path, model):
    for name in ("one", "other"):
        model_file.save(tmp_path / name, model, metadata={"a": 1, "b": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_numpy_reads_the_file(path, model):
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"weights", "bias", "offsets", "header"}
        assert [tuple(offset) for offset in file["offsets"]] == list(model.window.offsets)
        header = json.loads(file["header"].item())
    assert (header["kind"], header["version"]) == ("expression model", 2)
    assert header["header"] == {
        "channels": {"in": 1, "out": 3},
        "dtype": "float32",
        "image_size": [HEIGHT, WIDTH],
        "metadata": METADATA,
        "template": {"eye_distance": 0.4, "eye_height": 0.35, "mouth_height": 0.75},
        "window": {"entries": 5, "side": None},
    }


def test_a_failed_save_leaves_the_old_file(path, model, monkeypatch):
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        model_file.save(path, model)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path], "no unfinished file may stay"


def test_leftovers_of_killed_programs_are_removed(path):
    (path.parent / ".model.npz.123.partial").write_text("half")
    (path.parent / ".other.npz.123.partial").write_text("half")
    atomic_file.remove_partial(path)
    assert {each.name for each in path.parent.iterdir()} == {"model.npz", ".other.npz.123.partial"}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda m: m, {"dtype": np.int32}, "dtype must be one of float16, float32, float64, not int32"),
        (
            lambda m: m._replace(bias=m.bias + 7e4),
            {"dtype": np.float16},
            r"bias holds values of up to 7000\d, whi",
        ),
        (lambda m: m._replace(weights=np.asarray(m.weights) * np.nan), {}, "weights holds NaN or infinity"),
        (lambda m: m._replace(bias=m.bias[:, 1:]), {}, "do not belong together"),
        (
            lambda m: m._replace(window=windows.square(3)),
            {},
            "offsets must be whole numbers of the shape .5, 2.",
        ),
        (
            lambda m: m._replace(window=windows.from_offsets([(0, n) for n in range(5, 10)])),
            {},
            "its offsets lead out of its pictures of 4 x 5",
        ),
        (lambda m: m, {"template": FaceTemplate(mouth_height=0.3)}, "a template must have"),
        (lambda m: m, {"template": FaceTemplate(float("nan"))}, "a template must have|holds NaN"),
        (lambda m: m, {"metadata": {"loss": float("inf")}}, "its header holds NaN or infinity"),
        (lambda m: m, {"metadata": {"long": "x" * 2**20}}, "its header would be longer than 1048576"),
    ],
)
def test_save_rejects_what_load_would_reject(tmp_path, model, change, options, words):
    with pytest.raises(InputError, match=words):
        model_file.save(tmp_path / "model.npz", change(model), **options)
    assert not list(tmp_path.iterdir())


def test_metadata_must_be_json(tmp_path, model):
    with pytest.raises(TypeError, match="not JSON serializable"):
        model_file.save(tmp_path / "model.npz", model, metadata={"array": np.ones(2)})
    assert not list(tmp_path.iterdir())


def test_only_numbers_and_text_are_written(tmp_path):
    with pytest.raises(TypeError, match="names must hold numbers or text, not object"):
        array_file.save(tmp_path / "it.npz", "kind", 1, {"names": np.array([None])}, {})
    assert not list(tmp_path.iterdir())


def rewrite(path, *, kind="expression model", version=2, header=None, **change):
    """Changes the arrays or the header of a file, and its checksum accordingly."""
    arrays, old_header = array_file.load(path, "expression model", 2)
    kept = {name: array for name, array in (arrays | change).items() if array is not None}
    array_file.save(path, kind, version, kept, old_header | (header or {}))


def test_load_rejects_fields_of_other_shapes(tmp_path, model):
    path = tmp_path / "model.npz"
    model_file.save(path, model)
    (channels, _, _, *size), dtype = model.weights.shape, model.weights.dtype
    field = {
        "field_weights": np.zeros((2, 9, 1, 32, 32), dtype),
        "field_bias": np.zeros((2, 32, 32), dtype),
        "field_offsets": np.array(windows.square(3).offsets, np.int32),
        "tint": np.zeros((channels, *size), dtype),
    }
    for name, shape in (("field_weights", (2, 8, 1, 32, 32)), ("field_bias", (32, 32)), ("tint", (2, *size))):
        rewrite(path, **(field | {name: np.zeros(shape, dtype)}))
        with pytest.raises(InputError, match=f"{name} must be .* of the shape"):
            model_file.load(path)


def members(path):
    with zipfile.ZipFile(path) as archive:
        return [(each.filename, archive.read(each)) for each in archive.infolist()]


def pack(path, contents, compression=zipfile.ZIP_STORED):
    """Writes a zip file of named members with right checksums."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name), content, compression)


def replace(path, name, content):
    pack(path, [(each, content if each == name else old) for each, old in members(path)])


def npy(shape, dtype="<f4", content=b"", order=False):
    """The bytes of a .npy with any header."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def header_npy(text):
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


def set_outer(path, change):
    """Changes the text of the header, but not its checksum."""
    outer = json.loads(np.load(path)["header"].item())
    replace(path, "header.npy", header_npy(change(outer)))


def write_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


ONES = np.ones((3, HEIGHT, WIDTH), np.float32)
DEEP = "[" * 100_000 + "]" * 100_000
DAMAGED = "is damaged, was altered, or is no expression model at all: "
MASK = masks.dilated_mask(HEIGHT, WIDTH, 3, 1)
WRONG = MASK.indices.copy()
WRONG[0, 0] = 20


def with_mask(path, indices=MASK.indices, valid=MASK.valid):
    weights = np.ones((3, 9, 1, HEIGHT, WIDTH), np.float32)
    window = {"entries": 9, "side": None}
    change = {"weights": weights, "offsets": None, "mask_indices": indices, "mask_valid": valid}
    rewrite(path, header={"window": window}, **change)


REFUSED = {
    "missing": (lambda path: path.unlink(), "there is no file .*model.npz"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), DAMAGED),
    "empty": (lambda path: path.write_bytes(b""), DAMAGED),
    "flipped": (lambda path: flip(path, 400), DAMAGED),
    "other npz": (lambda path: np.savez(path, a=np.ones(3)), DAMAGED + "it has no header"),
    "npy": (write_array, DAMAGED),
    "kind": (
        lambda path: rewrite(path, kind="stat\x1b\nistics"),
        "holds no expression model, but: stat. istics$",
    ),
    "newer": (
        lambda path: rewrite(path, version=3),
        "a newer mlr_jax .format 3; this one reads 2.; update mlr_jax",
    ),
    "older": (
        lambda path: rewrite(path, version=1),
        "an older mlr_jax .format 1; this one reads 2.; train again",
    ),
    "no checksum": (
        lambda path: set_outer(path, lambda outer: json.dumps({**outer, "sha256": None})),
        DAMAGED + "its checksum does not fit",
    ),
    "header altered": (
        lambda path: set_outer(path, lambda outer: json.dumps(outer).replace("happy", "angry")),
        DAMAGED + "its checksum does not fit",
    ),
    "array altered": (
        lambda path: replace(path, "bias.npy", npy((3, 4, 5), content=ONES.tobytes())),
        DAMAGED + "its checksum does not fit",
    ),
    "version": (
        lambda path: set_outer(path, lambda o: json.dumps(o | {"version": True})),
        DAMAGED + "its header has",
    ),
    "no object": (lambda path: set_outer(path, lambda _: "[]"), DAMAGED + "its header has other parts"),
    "deep": (lambda path: set_outer(path, lambda _: DEEP), DAMAGED + "maximum recursion"),
    "nan": (
        lambda path: set_outer(path, lambda o: json.dumps(o).replace("0.1", "NaN")),
        DAMAGED + "its checksum does not fit",
    ),
    "NaN with checksum": (
        lambda path: rewrite(path, header={"metadata": {"a": float("nan")}}),
        "NaN or infinity",
    ),
    "numbers too long": (lambda path: set_outer(path, lambda _: "9" * 9999), DAMAGED),
    "long header": (
        lambda path: set_outer(path, lambda _: " " * 1_200_000),
        DAMAGED + "it has no header, or one that is too lo",
    ),
    "metadata": (lambda path: rewrite(path, header={"metadata": []}), "its header must have the parts dtype"),
    "more in the header": (
        lambda path: rewrite(path, header={"more": 1}),
        "its header must have the parts dtype",
    ),
    "size": (
        lambda path: rewrite(path, header={"image_size": [4, 6]}),
        "image_size is .4, 5., but its header says",
    ),
    "dtype": (
        lambda path: rewrite(path, header={"dtype": "float16"}),
        "dtype is float32, but its header says",
    ),
    "channels": (lambda path: rewrite(path, header={"channels": 3}), "channels is .*but its header says 3"),
    "window": (lambda path: rewrite(path, header={"window": {"side": 3}}), "window is .*but its header says"),
    "template": (
        lambda path: rewrite(path, header={"template": {"eye_distance": 0.4}}),
        "a template must have",
    ),
    "template's type": (
        lambda path: rewrite(path, header={"template": TEMPLATE._asdict() | {"eye_distance": True}}),
        "a template must have",
    ),
    "template's place": (
        lambda path: rewrite(path, header={"template": TEMPLATE._replace(eye_height=0.8)._asdict()}),
        "a template must have",
    ),
    "no bias": (lambda path: rewrite(path, bias=None), "its arrays must be weights, bias, and offsets"),
    "no window": (
        lambda path: rewrite(path, offsets=None),
        "its arrays must be weights, bias, and offsets",
    ),
    "more": (lambda path: rewrite(path, more=ONES), "not bias, more, offsets, weights"),
    "fractions": (lambda path: rewrite(path, offsets=np.zeros((5, 2))), "offsets must be whole numbers"),
    "offsets": (
        lambda path: rewrite(path, offsets=np.eye(2, dtype=int)),
        "offsets must be .*as many as weights",
    ),
    "twice": (lambda path: rewrite(path, offsets=np.zeros((5, 2), int)), "offsets must be distinct"),
    "far": (lambda path: rewrite(path, offsets=np.arange(10).reshape(5, 2)), "its offsets lead out"),
    "farthest": (
        lambda path: rewrite(path, offsets=np.full((5, 2), np.iinfo(np.int64).min)),
        "its offsets lead out",
    ),
    "wide": (
        lambda path: rewrite(path, offsets=np.array([(-3, 0), (3, 0), (0, 0), (1, 0), (2, 0)])),
        "a window of 7 x 1 pixels is larger than the picture of 4 x 5",
    ),
    "bias": (lambda path: rewrite(path, bias=np.ones((3, 4, 4), np.float32)), "do not belong together"),
    "bias's dtype": (lambda path: rewrite(path, bias=ONES.astype(np.float16)), "do not belong together"),
    "flat": (
        lambda path: rewrite(path, bias=np.ones((3, 4), np.float32)),
        "bias must be float16.* with 3 axes",
    ),
    "whole": (lambda path: rewrite(path, bias=ONES.astype(int)), "bias must be float16.* with 3 axes"),
    "no pixels": (lambda path: rewrite(path, bias=ONES[:, :0]), "bias must be float16.* with 3 axes"),
    "not finite": (lambda path: rewrite(path, bias=ONES * np.nan), "bias holds NaN or infinity"),
    "inputs": (
        lambda path: rewrite(path, weights=np.ones((3, 5, 2, HEIGHT, WIDTH), np.float32)),
        "do not belong together",
    ),
    "mask's range": (lambda path: with_mask(path, WRONG), "the mask points at input 20, but there are 20"),
    "mask's dtype": (
        lambda path: with_mask(path, valid=MASK.indices),
        "its mask must be whole numbers and truth",
    ),
    "mask's shape": (
        lambda path: with_mask(path, MASK.indices[1:]),
        "its mask must be whole numbers and truth",
    ),
    "pickle": (
        lambda path: replace(path, "bias.npy", npy((1,), "|O", b"cos\nsystem\n(S'false'\ntR.")),
        DAMAGED + "bias is no array of numbers or text",
    ),
    "structured": (
        lambda path: replace(path, "bias.npy", npy((1,), [("a", "<f4")], b"abcd")),
        DAMAGED + "bias is no array of numbers or text",
    ),
    "huge": (
        lambda path: replace(path, "bias.npy", npy((2**40,))),
        DAMAGED + "bias claims to be float32 of the shape .1099511627776,., which does not fit its size",
    ),
    "huge and empty": (lambda path: replace(path, "bias.npy", npy((0, 2**60, 2**60))), DAMAGED),
    "negative": (lambda path: replace(path, "bias.npy", npy((-1, -60))), DAMAGED + "bias is no array"),
    "nothing wide": (
        lambda path: replace(path, "bias.npy", npy((2**60,), "<U0")),
        DAMAGED + "bias is no array",
    ),
    "Fortran": (
        lambda path: replace(path, "bias.npy", npy((3, 4, 5), "<f4", ONES.tobytes(), True)),
        DAMAGED + "bias is no array",
    ),
    "axes": (lambda path: replace(path, "bias.npy", npy((1,) * 99, "<f4", b"1234")), DAMAGED),
    "no npy": (lambda path: replace(path, "bias.npy", b"rubbish"), DAMAGED + "bias is no array"),
    "no ending": (lambda path: pack(path, [("bias", b"")]), DAMAGED + "its member bias is not an array"),
    "compressed": (
        lambda path: pack(path, members(path), zipfile.ZIP_DEFLATED),
        DAMAGED + "its member weights.npy is compressed",
    ),
    "bomb": (
        lambda path: pack(path, [("weights.npy", npy((2**22,), content=bytes(2**24)))], zipfile.ZIP_BZIP2),
        DAMAGED + "its member weights.npy is compressed",
    ),
    "members": (
        lambda path: pack(path, [(f"{n}.npy", b"") for n in range(10_000)]),
        DAMAGED + "its directory is too long",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_rejected(path):
    pack(path, [*members(path), members(path)[0]])
    with pytest.raises(InputError, match="is not an array, or is there twice"):
        model_file.load(path)


@pytest.mark.parametrize("fault", REFUSED)
def test_clear_errors(path, fault):
    """Errors have one line, and need at most the memory of a good file with the largest header."""
    break_it, words = REFUSED[fault]
    break_it(path)
    message, peak = error_and_peak(path)
    with pytest.raises(InputError, match=words):
        raise InputError(message)
    assert peak < 2**25


def error_and_peak(path, saved=None):
    """The error of `load`, or None if the file holds `saved`, and the peak of the memory."""
    tracemalloc.start()
    try:
        found = model_file.load(path)
    except InputError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 1000
        return message, tracemalloc.get_traced_memory()[1]
    else:
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert saved is not None
    assert_same(found, saved)
    return None, peak


def test_overlapping_members_are_rejected(path):
    """A thousand names of one member would read it a thousand times."""
    pack(path, [("weights.npy", npy((2**18,), content=bytes(2**20)))])
    content = path.read_bytes()
    start = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entries = b"".join(content[start:end].replace(b"weights", b"w%06d" % n) for n in range(1000))
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), start, 0)
    path.write_bytes(content[:start] + entries + record)
    message, peak = error_and_peak(path)
    assert "its members are larger than the file" in message
    assert peak < 2**22


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_is_bounded_by_the_file(tmp_path, dtype):
    """As the module says. This leaves out arrays on the device, at most twice the file's size."""
    weights = jnp.ones((1, 9, 1, 256, 256))
    model = synthesis.ExpressionModel(weights, weights[:, 0, 0], windows.square(3))
    path = tmp_path / "model.npz"
    model_file.save(path, model, dtype=dtype)
    tracemalloc.start()
    model_file.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * path.stat().st_size + 2**20


def mutate(rng, content, contents, other):
    """Damages a file in one of many ways: returns its bytes, or a function that writes it."""
    content = bytearray(content)
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
    noise = rng.bytes(length)

    def replaced(change):
        """Changes one member, with right zip checksums."""
        chosen = int(rng.integers(len(contents)))
        new = [(name, change(data) if n == chosen else data) for n, (name, data) in enumerate(contents)]
        return lambda path: pack(path, new)

    def spliced(data):
        data = bytearray(data)
        # Half of the changes are in the first bytes, which have the headers.
        where = int(rng.integers(min(len(data), 130 if rng.random() < 0.5 else 10**9)))
        data[where : where + int(rng.integers(0, length + 1))] = noise
        return bytes(data)

    def resized(data):
        return data.replace(b"'shape': (", b"'shape': (%d, " % rng.integers(0, 2 ** rng.integers(1, 60)), 1)

    def retyped(data):
        types = [
            b"|O",
            b"<f2",
            b"<f8",
            b">f4",
            b"<c8",
            b"<i4",
            b"|V4",
            b"<U1",
            b"|S0",
            b"<M8",
            b"<f16",
            b"<U999999999",
        ]
        return data.replace(b"<f4", types[int(rng.integers(len(types)))], 1)

    def reworded(data):
        """Changes one letter of the JSON text, which stays UTF-32."""
        text = bytearray(data)
        where = 128 + 4 * int(rng.integers((len(data) - 128) // 4))
        text[where] = rng.choice(list(b'0129"{}[],:.-eNaN '))
        return bytes(text)

    def swapped():
        names = rng.permutation([name for name, _ in contents])
        return lambda path: pack(
            path, [(str(name), data) for name, (_, data) in zip(names, contents, strict=True)]
        )

    def reordered():
        order = rng.permutation(len(contents))
        return lambda path: pack(path, [contents[n] for n in order])

    def flipped():
        for spot in rng.integers(len(content), size=int(rng.integers(1, 4))):
            content[spot] ^= 1 << int(rng.integers(8))
        return content

    def overwritten(beginning):
        content[beginning : beginning + length] = noise
        return content

    def directory():
        return int(rng.integers(content.index(b"PK\x01\x02"), len(content)))

    return rng.choice(
        [
            flipped,
            lambda: content[:place],
            lambda: content[place:],
            lambda: content[:place] + noise + content[place:],
            lambda: content[:place] + content[place + length :],
            lambda: content + noise,
            lambda: overwritten(place),
            lambda: overwritten(directory()),
            lambda: content[: place + 300] + other[place + 300 :],
            lambda: replaced(spliced),
            lambda: replaced(resized),
            lambda: replaced(retyped),
            lambda: lambda path: pack(path, [*contents[:-1], ("header.npy", reworded(contents[-1][1]))]),
            swapped,
            reordered,
            lambda: (
                lambda path: pack(path, contents, int(rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])))
            ),
            lambda: lambda path: pack(path, contents[: int(rng.integers(len(contents)))]),
        ]
    )()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_500_damaged_files_are_rejected_or_harmless(tmp_path, rng, path, model, dtype):
    """`load` returns the saved model or raises an error of one line, and needs below a MiB."""
    model_file.save(path, model, template=TEMPLATE, metadata=METADATA, dtype=dtype)
    model_file.save(tmp_path / "other.npz", make(rng, windows.disk(1)), template=TEMPLATE, dtype=dtype)
    saved = model_file.load(path)
    content, contents, other = path.read_bytes(), members(path), (tmp_path / "other.npz").read_bytes()
    num_rejected = 0
    for _ in range(500):
        spoiled = mutate(rng, content, contents, other)
        if callable(spoiled):
            spoiled(path)
        else:
            path.write_bytes(spoiled)
        message, peak = error_and_peak(path, saved)
        num_rejected += message is not None
        assert peak < 2**20
    # Changes of unused bytes are harmless.
    assert 400 < num_rejected < 500


def test_views_are_saved_and_the_selection_is_not(tmp_path):
    """For a window of mirrored and blurred views."""
    rng = np.random.default_rng(0)
    neutral, expressive = rng.random((2, 10, 8, 8, 3)).astype(np.float32)
    window = windows.mirrored(windows.foveated(dilation=2, blur=0.7))
    model = synthesis.fit(neutral, expressive, window=window, penalty="auto", num_folds=2)
    path = tmp_path / "model.npz"
    model_file.save(path, model)
    loaded = model_file.load(path).model
    assert loaded.window == window
    assert loaded.selection is None
    expected = synthesis.synthesize(model, neutral)
    np.testing.assert_array_equal(synthesis.synthesize(loaded, neutral), expected)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (np.zeros((18, 3)), r"views must be floating point of the shape \(18, 2\)"),
        (np.zeros((18, 2), int), "views must be floating point"),
        (np.full((18, 2), 0.5), "views must be 0 or 1"),
        (np.tile([0, -1.0], (18, 1)), "a blur from 0 to the picture's side, 8"),
        (np.tile([0, 1e9], (18, 1)), "a blur from 0 to the picture's side, 8"),
        (np.tile([0, np.nan], (18, 1)), "a blur from 0"),
        (np.zeros((18, 2)), "offsets must be distinct"),
    ],
)
def test_wrong_views_are_rejected(tmp_path, views, message):
    arrays = {
        "weights": np.zeros((1, 18, 1, 8, 8), np.float32),
        "bias": np.zeros((1, 8, 8), np.float32),
        "offsets": np.array(windows.foveated(dilation=2).offsets, np.int32),
        "views": views,
    }
    header = {
        "dtype": "float32",
        "image_size": [8, 8],
        "channels": {"out": 1, "in": 1},
        "window": {"entries": 18, "side": None},
        "template": None,
        "metadata": {},
    }
    array_file.save(tmp_path / "model.npz", "expression model", 2, arrays, header)
    with pytest.raises(InputError, match=message):
        model_file.load(tmp_path / "model.npz")
