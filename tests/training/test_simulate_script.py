import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from PIL import Image

from lens_transformers.data import simulate_dataset
from lens_transformers.simulation import LensSimulationConfig, get_preset, simulate


SCRIPT = Path(__file__).parents[2] / "training" / "simulate.py"
SIZE = "instrument.num_pixels=20"


@pytest.fixture
def run(monkeypatch):
    def run(output_dir, *options, counts=(7, 3, 4)):
        arguments = ["--num_workers", "1"]
        for split, count in zip(("train", "validation", "test"), counts or (), strict=False):
            arguments += [f"--num_{split}", str(count)]
        monkeypatch.setattr(sys, "argv", ["simulate.py", "--output_dir", str(output_dir), *arguments, *options])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def refusal(run, *arguments, **options):
    with pytest.raises(SystemExit, match=r"^simulate\.py: ") as error:
        run(*arguments, **options)
    return str(error.value)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_loads_with_datasets_alone_and_holds_what_simulate_gives(run, tmp_path):
    run(tmp_path / "lenses", "--preset", "lens_default", "--seed", "3", "--override", SIZE)
    splits = load_dataset(str(tmp_path / "lenses"), cache_dir=str(tmp_path / "cache")).with_format("numpy")
    assert {name: len(split) for name, split in splits.items()} == {"train": 7, "validation": 3, "test": 4}
    assert splits["train"].features["label"].names == ["no_sub", "cdm", "axion"]
    config = get_preset("lens_default").with_overrides({"instrument.num_pixels": 20})
    expected = simulate(config, 14, seed=3)
    for name, split in splits.items():
        start = {"train": 0, "validation": 7, "test": 10}[name]
        rows = slice(start, start + len(split))
        assert np.array_equal(np.asarray(split["image"]), expected.image[rows].numpy())
        assert np.array_equal(np.asarray(split["label"]), expected.label[rows].numpy())
        radii = expected.parameters["einstein_radius_arcsec"][rows].numpy()
        assert np.array_equal(np.asarray(split["einstein_radius_arcsec"]), radii)


def test_pairs_have_a_target(run, tmp_path):
    run(tmp_path / "pairs", "--preset", "sr_deeplense", "--override", SIZE, counts=(2, 0, 0))
    splits = load_dataset(str(tmp_path / "pairs"), cache_dir=str(tmp_path / "cache"))
    assert list(splits) == ["train"]
    assert splits["train"].features["image"].shape == (1, 10, 10)
    assert splits["train"].features["target"].shape == (1, 20, 20)
    assert "label" not in splits["train"].features


def test_the_description_says_what_it_takes_to_make_it_again(run, tmp_path):
    run(tmp_path / "lenses", "--seed", "3", "--override", SIZE, "noise=null")
    description = yaml.safe_load((tmp_path / "lenses" / "simulation.yaml").read_text())
    assert description["preset"] == "lens_default"
    assert description["seed"] == 3
    assert description["splits"]["test"] == {"first_sample": 10, "num_images": 4}
    assert set(description["versions"]) >= {"lens_transformers", "torch", "caustics"}
    expected = get_preset("lens_default").with_overrides({"instrument.num_pixels": 20, "noise": None})
    assert LensSimulationConfig.from_dict(description["config"]) == expected


def test_two_workers_write_the_same_bytes_as_one(run, tmp_path):
    counts = (1001, 0, 3)
    run(tmp_path / "one", "--override", SIZE, counts=counts)
    run(tmp_path / "two", "--override", SIZE, "--num_workers", "2", counts=counts)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert Path("data/train-00002-of-00003.parquet") in one


def test_a_folder_in_use_is_refused_and_left_alone(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    message = refusal(run, tmp_path)
    assert "is not empty: choose another --output_dir" in message
    message = refusal(run, tmp_path, "--overwrite")
    assert "not a simulation: --overwrite will not replace it" in message
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_earlier_simulation_is_replaced_when_asked(run, tmp_path):
    folder = tmp_path / "lenses"
    run(folder, "--override", SIZE)
    before = contents(folder)
    run(folder, "--override", SIZE, "--seed", "1", "--overwrite", counts=(2, 0, 0))
    assert contents(folder)[Path("simulation.yaml")] != before[Path("simulation.yaml")]
    assert [path.name for path in (folder / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["lenses"]


def test_a_failure_leaves_nothing_half_written(run, tmp_path, monkeypatch):
    folder = tmp_path / "lenses"
    run(folder, "--override", SIZE)
    before = contents(folder)

    class FullDisk:
        def to_parquet(self, path):
            Path(path).write_bytes(b"PAR1, and then")
            raise OSError("No space left on device")

    monkeypatch.setattr("lens_transformers.data.simulate_dataset", lambda *args, **kwargs: FullDisk())
    with pytest.raises(SystemExit, match="Could not write .*lenses: No space left on device.*same command again"):
        run(folder, "--override", SIZE, "--seed", "1", "--overwrite")
    assert contents(folder) == before
    assert set(contents(tmp_path / ".lenses.partial")) == {Path("simulation.yaml")}


@pytest.mark.parametrize(("first_bad", "left"), [(0, None), (7, "train-00000-of-00001.parquet")])
def test_what_cannot_be_simulated_later_on_leaves_whole_shards_alone(first_bad, left, run, tmp_path, monkeypatch):
    def simulate_or_fail(config, num_images, seed, start=0, **options):
        if num_images > 3 and start >= first_bad:
            raise ValueError("the substructure is too heavy.")
        return simulate_dataset(config, num_images, seed, start=start, **options)

    monkeypatch.setattr("lens_transformers.data.simulate_dataset", simulate_or_fail)
    folder = tmp_path / "lenses"
    with pytest.raises(SystemExit, match="Could not simulate .*lenses: the substructure is too heavy") as error:
        run(folder, "--override", SIZE, counts=(7, 5, 0))
    assert [path.name for path in tmp_path.glob(".*/data/*")] == ([left] if left else [])
    assert ("--overwrite replaces" in str(error.value)) == bool(left)
    monkeypatch.setattr("lens_transformers.data.simulate_dataset", simulate_dataset)
    if not left:
        run(folder, "--override", SIZE, "--seed", "1", counts=(7, 5, 0))


def test_a_folder_stays_where_another_job_took_what_was_to_replace_it(tmp_path):
    (tmp_path / "lenses").mkdir()
    (tmp_path / "lenses" / "simulation.yaml").touch()
    with pytest.raises(FileNotFoundError):
        runpy.run_path(str(SCRIPT))["replace_folder"](tmp_path / ".lenses.partial", tmp_path / "lenses")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml")] == [Path("lenses/simulation.yaml")]


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(run, tmp_path):
    options = ["--num_images", "1600", "--override", SIZE, "--num_workers", "1"]
    command = [sys.executable, str(SCRIPT), "--output_dir", str(tmp_path / "killed"), *options]
    data = tmp_path / ".killed.partial" / "data"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(data.glob("train-*.parquet"))) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed").exists()
    whole = {path.name: path.stat().st_mtime_ns for path in data.glob("train-*.parquet")}
    assert 1 <= len(whole) < 3
    (data / ".train-00002-of-00003.4711.parquet").write_bytes(b"PAR1, torn")

    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    assert all((tmp_path / "killed" / "data" / name).stat().st_mtime_ns == when for name, when in whole.items())
    run(tmp_path / "whole", *options, counts=None)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_jobs_share_the_work_and_the_last_one_finishes_the_folder(run, tmp_path):
    counts = (1001, 0, 3)
    run(tmp_path / "one", "--override", SIZE, counts=counts)
    for job in (2, 0, 1):
        assert not (tmp_path / "many").exists()
        run(tmp_path / "many", "--override", SIZE, "--num_shards", "3", "--shard_index", str(job), counts=counts)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_the_processes_of_accelerate_launch_are_jobs(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        run(tmp_path / "many", "--override", SIZE)
    assert "Wrote job 1 of 2; 2 of 3 shards are still to come" in capsys.readouterr().out
    assert (tmp_path / "many" / "simulation.yaml").exists()


def test_the_same_command_again_changes_nothing(run, tmp_path, capsys):
    run(tmp_path / "lenses", "--override", SIZE)
    before = contents(tmp_path / "lenses")
    run(tmp_path / "lenses", "--override", SIZE)
    assert "holds this simulation already" in capsys.readouterr().out
    assert contents(tmp_path / "lenses") == before


def test_another_configuration_is_refused(run, tmp_path):
    run(tmp_path / "lenses", "--override", SIZE)
    message = refusal(run, tmp_path / "lenses", "--override", SIZE, "--seed", "1")
    assert "holds a simulation of another configuration" in message
    (tmp_path / "lenses").rename(tmp_path / ".lenses.partial")
    message = refusal(run, tmp_path / "lenses", "--override", SIZE, "--seed", "1")
    assert "holds an unfinished simulation of another configuration" in message


def test_a_number_of_images_is_divided_by_fractions(run, tmp_path):
    options = ["--num_images", "10", "--split_fractions", "0.7", "0.0", "0.3", "--override", SIZE]
    run(tmp_path / "lenses", *options, counts=None)
    splits = yaml.safe_load((tmp_path / "lenses" / "simulation.yaml").read_text())["splits"]
    assert {split: samples["num_images"] for split, samples in splits.items()} == {
        "train": 7,
        "validation": 0,
        "test": 3,
    }


def test_the_card_says_what_load_dataset_reads(run, tmp_path):
    run(tmp_path / "lenses", "--override", SIZE, counts=(4, 0, 3))
    header = yaml.safe_load((tmp_path / "lenses" / "README.md").read_text().split("---")[1])
    assert header["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "test", "path": "data/test-*.parquet"},
    ]
    streamed = load_dataset(str(tmp_path / "lenses"), split="test", streaming=True, cache_dir=str(tmp_path / "cache"))
    rows = list(streamed.with_format("numpy"))
    assert len(rows) == 3 and rows[0]["image"].shape == (1, 20, 20)


def test_a_contact_sheet_of_every_split_shows_its_first_images_by_class(run, tmp_path):
    run(tmp_path / "lenses", "--override", SIZE, counts=(5, 0, 2))
    sheet = np.asarray(Image.open(tmp_path / "lenses" / "contact_sheet_train.png"))
    # Strips of a title and images 96 pixels wide; the first of the unused places is the third.
    shown = sheet.reshape(3, 110, 8, 96, 3)[:, 14:].min(axis=(1, 3, 4)) < 255
    assert shown.sum(axis=1).tolist() == [2, 2, 1]
    assert (tmp_path / "lenses" / "contact_sheet_test.png").is_file()
    assert not (tmp_path / "lenses" / "contact_sheet_validation.png").exists()


def test_scenes_are_seen_through_an_instrument(run, tmp_path):
    run(tmp_path / "lenses", "--instrument", "euclid_vis", "--override", SIZE, counts=(3, 0, 0))
    config = yaml.safe_load((tmp_path / "lenses" / "simulation.yaml").read_text())["config"]
    assert config["detector"]["zero_point_mag"] == 25.72 and config["scaling"] == "none"


def test_the_files_of_a_configuration_are_recorded_by_their_contents(run, tmp_path):
    galaxies = tmp_path / "galaxies.npy"
    options = ("--override", SIZE, f"source_images={{path: {galaxies}, pixel_scale_arcsec: 0.05}}")
    assert "does not exist" in refusal(run, tmp_path / "lenses", *options)
    np.save(galaxies, np.eye(20)[None])
    run(tmp_path / "lenses", *options)
    np.save(galaxies, np.eye(20)[None, ::-1])
    assert "another configuration" in refusal(run, tmp_path / "lenses", *options)


def test_an_impossible_number_of_images_is_refused(run, tmp_path):
    for options, message in (
        (("--num_images", "0"), "--num_images must be at least 1, got 0"),
        (("--num_images", "9", "--split_fractions", "0.5", "0.1", "0.1"), "add up to 1"),
        (("--num_images", "9", "--split_fractions", "1.0"), "three numbers"),
    ):
        assert message in refusal(run, tmp_path / "lenses", *options, counts=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "lens_defualt"), "no simulation preset 'lens_defualt'. Did you mean lens_default"),
        (("--override", "main_lens.axis_ratio"), "must have the form key=value"),
        (("--override", "main_lens.axis_ratio={"), "the value is not YAML"),
        (("--override", "main_lens.axis_ratio=2"), "main_lens.axis_ratio must lie within"),
        (("--override", "main_lens.colour=2"), "no such field"),
        (("--override", SIZE, "substructure.subhalos.count=1000", "main_lens.einstein_radius_arcsec=0.5"), "half of"),
        (("--num_workers", "0"), "--num_workers must be at least 1"),
        (("--num_train", "-1"), "--num_train must be at least 0"),
        (("--num_train", "0", "--num_validation", "0", "--num_test", "0"), "nothing to simulate"),
        (("--seed", "-1"), "seed"),
        (("--num_images", "9"), "--num_images, or --num_train, --num_validation and --num_test, not both"),
        (("--num_shards", "2"), "go together"),
        (("--num_shards", "2", "--shard_index", "2"), "below --num_shards=2, got 2"),
        (("--instrument", "euclid_viz"), "no instrument 'euclid_viz'. Did you mean euclid_vis"),
    ],
)
def test_an_impossible_option_is_refused_in_words(run, tmp_path, options, message):
    assert message in refusal(run, tmp_path / "lenses", *options)
    assert list(tmp_path.iterdir()) == []
