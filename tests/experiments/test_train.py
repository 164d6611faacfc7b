"""Training from the command line: its files, and how it resumes after a signal or a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from mlr_jax import array_file, images, metrics, model_file, synthesis, warped_ridge
from mlr_jax.datasets import folder, synthetic
from tests.experiments import scripts

NUM = 1500
# No file may grow beyond 8 KiB. Coverage's file would; a compilation cache would keep parts of programs.
FULL_DISK = {
    "through": ("bash", "-c", 'unset COVERAGE_PROCESS_CONFIG; ulimit -f 8; exec "$@"', "limited"),
    "environment": {"JAX_ENABLE_COMPILATION_CACHE": "0"},
}


def start(*flags: str, **options) -> subprocess.Popen:
    return scripts.start("experiments.train", *flags, **options)


def run(*flags: str, **options) -> subprocess.CompletedProcess:
    return scripts.run("experiments.train", *flags, **options)


def make_pairs(root: Path, num: int, size: int) -> Path:
    """Many pairs of grey pictures, of which 30 differ; the others are links."""
    rng = np.random.default_rng(0)
    for expression in ("neutral", "happy"):
        (root / expression).mkdir(parents=True)
        for n in range(num):
            path = root / expression / f"{n:05d}.png"
            if n < 30:
                images.write(path, rng.random((size, size, 1)).astype(np.float32))
            else:
                os.link(root / expression / f"{n * 7 % 30:05d}.png", path)
    return root


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("faces"), NUM, 16)


@pytest.fixture(scope="module")
def flags(faces) -> tuple[str, ...]:
    """Batches of 11, of which the last is shorter; sums are saved after each."""
    data = ("--dataset=folder", f"--data_dir={faces}", "--image_size=16", "--channels=1")
    return (*data, "--batch_size=11", "--save_every=11")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, flags) -> tuple[Path, subprocess.CompletedProcess]:
    """An uninterrupted run: its folder and its output."""
    output_dir = tmp_path_factory.mktemp("whole") / "run"
    done = run(*flags, f"--output_dir={output_dir}")
    assert done.returncode == 0, done.stderr
    return output_dir, done


def test_the_model_equals_that_of_fit(whole, faces):
    pairs = folder.load(faces, image_size=16, channels=1)
    expected = synthesis.fit(pairs.neutral, pairs.expressive, window=3, penalty=0.4)
    model, template, metadata = model_file.load(whole[0] / "model.npz")
    assert model.window == expected.window
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.bias, expected.bias, rtol=1e-5, atol=1e-5)
    assert template is None, "such pictures may be aligned in any way"
    assert metadata["num_pairs"] == NUM
    assert (metadata["dataset"], metadata["target"]) == ("folder", "happy")
    assert metadata["penalty"] == 0.4


def test_the_output_describes_the_run(whole):
    output_dir, done = whole
    assert f"0/{NUM} " in done.stderr, "the progress bar"
    assert "pair/s" in done.stderr
    assert done.stdout.startswith("1,500 pairs, folder: neutral to happy, 16 x 16 x 1\n")
    assert f"Model: {output_dir / 'model.npz'}" in done.stdout
    figures = json.loads((output_dir / "train.json").read_text())
    assert (figures["num_pairs"], figures["num_pairs_before"]) == (NUM, 0)
    assert figures["pairs_per_second"] == pytest.approx(NUM / figures["sum_seconds"])
    assert 0 < figures["waiting_seconds"] < figures["sum_seconds"]
    assert 2**26 < figures["peak_bytes"] < 2**40
    config = json.loads((output_dir / "config.json").read_text())
    assert config["flags"]["batch_size"] == 11
    assert config["settings"]["num_pairs"] == NUM
    assert {path.name for path in output_dir.iterdir()} == {
        ".gitignore", ".lock", "config.json", "model.npz", "statistics.npz", "train.json",
    }  # fmt: skip


def num_summed(path: Path) -> int:
    """The number of pairs in the sums on disk."""
    if not path.exists():
        return 0
    return array_file.load(path, "training's sums", 3).header["num_pairs"]


def wait_for_more(process: subprocess.Popen, sums: Path, before: int) -> None:
    deadline = time.monotonic() + 120
    while num_summed(sums) <= before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, flags, whole):
    """SIGKILL (nearly always) during a save, SIGKILL at any moment, and SIGTERM."""
    sums = tmp_path / "statistics.npz"
    all_flags = (*flags, f"--output_dir={tmp_path}")
    reached = [0]
    for number, in_save in ((signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGTERM, False)):
        process = start(*all_flags)
        wait_for_more(process, sums, reached[-1])
        while in_save and process.poll() is None and not list(tmp_path.glob(".statistics.npz.*.partial")):
            pass
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), errors
        reached.append(num_summed(sums))
        assert not (tmp_path / "model.npz").exists()
    assert reached == sorted(set(reached))
    assert reached[-1] < NUM, "too fast for this test"
    done = run(*all_flags)
    assert done.returncode == 0, done.stderr
    assert f"{reached[-1]:,} of them were summed before" in done.stdout
    for name in ("statistics.npz", "model.npz"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.long
def test_runs_killed_at_random_moments_resume_to_the_same_bits(tmp_path, flags, whole, request):
    """A run of two seconds saves its sums 137 times, so that some kills fall within a save."""
    wanted = 50 if request.config.getoption("--thorough") else 8
    rng = np.random.default_rng(0)
    begun = time.monotonic()
    assert run(*flags, f"--output_dir={tmp_path / 'timed'}").returncode == 0
    seconds = time.monotonic() - begun
    num_killed, num_finished, num_partial = 0, 0, 0
    while num_killed < wanted:
        output_dir = tmp_path / str(num_finished)
        done = run(*flags, f"--output_dir={output_dir}", kill_after=rng.uniform(0.3, 1) * seconds)
        if done.returncode == -signal.SIGKILL:
            num_killed += 1
            num_partial += len(list(output_dir.glob(".*.partial")))
            continue
        assert done.returncode == 0, done.stderr
        num_finished += 1
    output_dir = tmp_path / str(num_finished)
    assert run(*flags, f"--output_dir={output_dir}").returncode == 0
    for number in range(num_finished + 1):
        model = tmp_path / str(number) / "model.npz"
        assert model.read_bytes() == (whole[0] / "model.npz").read_bytes()
    print(
        f"{num_killed} killed, {num_partial} of them while saving; {num_finished + 1} finished; {seconds} s"
    )


def test_a_second_run_into_a_folder_is_rejected(flags, whole):
    output_dir, _ = whole
    before = {path.name: path.stat().st_mtime_ns for path in output_dir.iterdir()}
    with FileLock(output_dir / ".lock"):
        done = run(*flags, f"--output_dir={output_dir}", "--penalty=3")
    assert done.returncode == 1
    assert f"error: --output_dir: another run is writing into {output_dir}; wait" in done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in output_dir.iterdir()} == before


def test_the_message_after_ctrl_c_says_how_to_continue(tmp_path, flags):
    process = start(*flags, f"--output_dir={tmp_path}", "--restart")
    wait_for_more(process, tmp_path / "statistics.npz", 0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    reached = num_summed(tmp_path / "statistics.npz")
    assert 0 < reached < NUM
    words = (
        f"stopped after {reached:,} of 1,500 pairs, whose sums are saved in {tmp_path / 'statistics.npz'}; "
    )
    assert words + "the same command without --restart goes on from there" in errors
    assert "Traceback" not in errors


def test_a_full_disk_is_reported_and_the_run_can_continue(tmp_path, flags, whole):
    """With no room for the sums. The same command continues later."""
    process = start(
        *flags,
        f"--output_dir={tmp_path}",
        **FULL_DISK,
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert errors.endswith(f"error: [Errno 27] File too large: '{tmp_path / 'statistics.npz'}'\n")
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.json"}
    assert run(*flags, f"--output_dir={tmp_path}").returncode == 0
    assert (tmp_path / "model.npz").read_bytes() == (whole[0] / "model.npz").read_bytes()


def test_a_full_disk_keeps_the_sums_and_the_old_model(tmp_path, flags, whole):
    """With no room for the new model."""
    model = tmp_path / "model.npz"
    for file in ("statistics.npz", "model.npz"):
        shutil.copy(whole[0] / file, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.move(tmp_path / "statistics.npz", run_dir)
    process = start(
        *flags,
        f"--output_dir={run_dir}",
        f"--model={model}",
        "--penalty=3",
        **FULL_DISK,
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert errors.endswith(f"error: [Errno 27] File too large: '{model}'\n")
    assert model.read_bytes() == before["model.npz"]
    assert (run_dir / "statistics.npz").read_bytes() == before["statistics.npz"]
    assert not list(tmp_path.glob(".*.partial"))


def test_a_read_only_folder_is_named(tmp_path, flags):
    through: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv that takes this from a program")
        through = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    folder = tmp_path / "read_only"
    folder.mkdir()
    folder.chmod(0o555)
    for output_dir, words in (
        (folder, f"{folder} is not a folder that can be written to\n"),
        (folder / "new", f"cannot make the folder {folder / 'new'}: Permission denied"),
    ):
        process = start(*flags, f"--output_dir={output_dir}", through=through)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1, errors
        assert errors.startswith(f"error: --output_dir: {words}")
        assert len(errors.splitlines()) == 1, errors


def test_other_settings_are_rejected_and_change_no_file(flags, whole):
    output_dir, _ = whole
    before = {path.name: path.read_bytes() for path in output_dir.iterdir()}
    done = run(*flags, f"--output_dir={output_dir}", "--window=5", "--batch_size=12")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {output_dir / 'statistics.npz'} was made with window=3, not 5, batch_size=11, not 12; "
        "use another --output_dir, or --restart to begin anew\n"
    )
    assert before == {path.name: path.read_bytes() for path in output_dir.iterdir()}


def test_another_penalty_solves_the_saved_sums(flags, faces, whole, tmp_path):
    output_dir, _ = whole
    before = (output_dir / "statistics.npz").read_bytes()
    model = tmp_path / "heavy.npz"
    done = run(*flags, f"--output_dir={output_dir}", "--penalty=30", "--nopenalize_bias", f"--model={model}")
    assert done.returncode == 0, done.stderr
    assert "1,500 of them were summed before" in done.stdout
    pairs = folder.load(faces, image_size=16, channels=1)
    expected = synthesis.fit(pairs.neutral, pairs.expressive, window=3, penalty=30, penalize_bias=False)
    np.testing.assert_allclose(model_file.load(model).model.weights, expected.weights, rtol=1e-5, atol=1e-5)
    assert (output_dir / "statistics.npz").read_bytes() == before


def test_joint_channels_and_people_left_out(tmp_path):
    """With more inputs than pairs, where `fit` uses the dual."""
    test_list = tmp_path / "test.txt"
    test_list.write_text("synthetic_0002\nsynthetic_0005\n")
    options = ("--num_subjects=12", "--image_size=16", "--channel_mode=joint", f"--test_list={test_list}")
    options += ("--weights=float16",)
    done = run(*options, f"--output_dir={tmp_path / 'run'}", f"--model={tmp_path / 'joint.npz'}")
    assert done.returncode == 0, done.stderr
    pairs = synthetic.load(num_subjects=12, image_size=16)
    chosen = [n for n in range(12) if n not in (2, 5)]
    expected = synthesis.fit(pairs.neutral[chosen], pairs.expressive[chosen], channels="joint")
    model, template, metadata = model_file.load(tmp_path / "joint.npz")
    np.testing.assert_allclose(model.weights, expected.weights, rtol=6e-4, atol=1e-5)
    assert np.load(tmp_path / "joint.npz")["weights"].dtype == np.float16
    assert template == synthetic.TEMPLATE
    assert metadata["num_pairs"] == 10
    assert not (tmp_path / "run" / "model.npz").exists()


def test_copies_are_never_both_trained_and_tested_on(tmp_path):
    faces = make_pairs(tmp_path / "faces", 12, 16)
    for number in (3, 7):
        copied = faces / "neutral" / "00000.png", faces / "neutral" / f"{number:05}.png"
        copied[1].write_bytes(copied[0].read_bytes())
    test_list = tmp_path / "test.txt"
    test_list.write_text("00007\n00010\n")
    options = ("--dataset=folder", f"--data_dir={faces}", "--image_size=16", f"--test_list={test_list}")
    done = run(*options, f"--output_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    (note,) = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("note: ")]
    assert "1 pictures occur under several subjects, who count as one person" in note
    assert " = ".join(str(faces / "neutral" / f"{number:05}.png") for number in (0, 3, 7)) in note
    assert model_file.load(tmp_path / "run" / "model.npz").metadata["num_pairs"] == 12 - 4


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("--window=4", "size must be odd and positive"),
        ("--window=17", "larger than the picture of 16 x 16"),
        ("--model=/nowhere/smile.npz", "--model: /nowhere/smile.npz is not a file in a folder"),
        ("--points=faces.npz", "--points need --kind=warped_ridge"),
        ("--test_fraction=2", "--test_fraction must be between 0 and 1, not 2"),
    ],
)
def test_mistakes_get_one_line(tmp_path, mistake, words):
    done = run("--num_subjects=4", "--image_size=16", f"--output_dir={tmp_path}", mistake)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.fixture
def broken(tmp_path) -> tuple[str, ...]:
    """Flags of twenty pairs, of which one has an unreadable picture."""
    make_pairs(tmp_path / "faces", 20, 16)
    (tmp_path / "faces" / "happy" / "00013.png").write_text("rubbish")
    data = ("--dataset=folder", f"--data_dir={tmp_path / 'faces'}", "--image_size=16", "--channels=1")
    return (*data, "--batch_size=11", f"--output_dir={tmp_path / 'run'}")


def test_a_broken_picture_is_left_out(broken, tmp_path):
    done = run(*broken)
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stderr.replace("\r", "\n").splitlines() if "left out" in line]
    assert said.startswith("left out: 00013: cannot read ")
    assert done.stdout.startswith("19 pairs, ")
    assert "note: 1 others could not be read, and were left out" in done.stdout
    figures = json.loads((tmp_path / "run" / "train.json").read_text())
    assert figures["num_pairs"] == 19
    metadata = model_file.load(tmp_path / "run" / "model.npz").metadata
    assert metadata["num_pairs"] == 19
    assert metadata["left_out"] == ["00013"]
    assert [f"left out: {why}" for why in figures["left_out"]] == [said.strip()]


def test_a_broken_picture_is_named(broken, tmp_path):
    done = run(*broken, "--strict")
    assert done.returncode == 1
    last = done.stderr.replace("\r", "\n").strip().splitlines()[-1].strip()
    assert last.startswith("error: cannot read ")
    assert str(Path("happy") / "00013.png") in last
    assert num_summed(tmp_path / "run" / "statistics.npz") == 11


@pytest.mark.long
def test_memory_does_not_grow_with_the_pairs(tmp_path):
    """The pictures of the larger set are 300 MiB."""
    peaks = []
    for num in (300, 2400):
        faces = make_pairs(tmp_path / f"faces{num}", num, 128)
        data = ("--dataset=folder", f"--data_dir={faces}", "--image_size=128", "--channels=1")
        # With users' compiler options, which change the memory.
        environment = {"XLA_FLAGS": ""}
        process = start(*data, f"--output_dir={tmp_path / str(num)}", environment=environment)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        figures = json.loads((tmp_path / str(num) / "train.json").read_text())
        assert figures["num_pairs"] == num
        peaks.append(figures["peak_bytes"])
    assert peaks[1] < 1.05 * peaks[0]


def test_a_warped_ridge(tmp_path):
    done = scripts.run(
        "experiments.train",
        "--kind=warped_ridge",
        "--num_subjects=12",
        "--image_size=32",
        "--penalty=0.05",
        f"--output_dir={tmp_path}",
        optimize=False,
    )
    assert done.returncode == 0, done.stderr
    assert "12 pairs, synthetic: neutral to happy" in done.stdout
    model, template, metadata = model_file.load(tmp_path / "model.npz")
    assert isinstance(model, warped_ridge.WarpedModel)
    assert template == synthetic.TEMPLATE
    assert metadata["kind"] == "warped_ridge"
    pairs = synthetic.load(image_size=32, num_subjects=12)
    result = warped_ridge.synthesize(model, pairs.neutral)
    assert metrics.mse(result, pairs.expressive).mean() < 0.7 * metrics.mse(*pairs[:2]).mean()
    figures = json.loads((tmp_path / "train.json").read_text())
    assert figures["num_pairs"] == 12
    done = scripts.run(
        "experiments.train", "--kind=warped_ridge", "--nopenalize_bias", f"--output_dir={tmp_path}"
    )
    assert done.returncode == 1
    assert done.stderr == "error: --nopenalize_bias: the bias of a warped ridge is penalised\n"


def test_a_warped_ridge_of_points(london_dir, tmp_path):
    """Learns the displacement fields from points of a face mesh on real people."""
    few = ("--kind=warped_ridge", "--dataset=london", "--image_size=16", "--channels=1")
    command = ("experiments.train", *few, "--test_fraction=0.85", f"--output_dir={tmp_path / 'run'}")
    done = scripts.run(*command, f"--points={london_dir / 'landmarks478.npz'}", optimize=False)
    assert done.returncode == 0, done.stderr
    model, _, metadata = model_file.load(tmp_path / "run" / "model.npz")
    assert metadata["num_pairs"] == 12
    assert isinstance(model, warped_ridge.WarpedModel)
    assert np.isfinite(model.change.weights).all()
    assert float(np.abs(model.field.bias).max()) > 0
    np.savez(tmp_path / "none.npz", files=np.zeros(0, str), points=np.zeros((0, 478, 2)))
    done = scripts.run(*command, f"--points={tmp_path / 'none.npz'}")
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*none\.npz has no points of .*\.jpg\n", done.stderr), done.stderr
