import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset

from lens_transformers.simulation import LensSimulationConfig, get_preset, simulate


SCRIPT = Path(__file__).parents[2] / "training" / "simulate.py"
SIZE = "instrument.num_pixels=20"


@pytest.fixture
def run(monkeypatch):
    def run(output_dir, *options, counts=(7, 3, 4)):
        train, validation, test = map(str, counts)
        arguments = ["--num_train", train, "--num_validation", validation, "--num_test", test, "--num_workers", "1"]
        monkeypatch.setattr(sys, "argv", ["simulate.py", "--output_dir", str(output_dir), *arguments, *options])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def refusal(capsys, run, *arguments, **options):
    with pytest.raises(SystemExit) as error:
        run(*arguments, **options)
    assert error.value.code == 2
    return capsys.readouterr().err


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


def test_a_folder_in_use_is_refused_and_left_alone(run, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    message = refusal(capsys, run, tmp_path)
    assert "is not empty: choose another --output_dir" in message
    message = refusal(capsys, run, tmp_path, "--overwrite")
    assert "not a simulation: --overwrite will not replace it" in message
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_earlier_simulation_is_replaced_when_asked(run, tmp_path):
    folder = tmp_path / "lenses"
    run(folder, "--override", SIZE)
    before = contents(folder)
    run(folder, "--override", SIZE, "--seed", "1", "--overwrite", counts=(2, 0, 0))
    assert len(contents(folder)) == 2 < len(before)
    assert [path.name for path in tmp_path.iterdir()] == ["lenses"]


def test_a_failure_leaves_nothing_half_written(run, tmp_path, monkeypatch):
    folder = tmp_path / "lenses"
    run(folder, "--override", SIZE)
    before = contents(folder)

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("lens_transformers.data.simulate_dataset", full_disk)
    with pytest.raises(SystemExit, match="Could not write .*lenses: No space left on device"):
        run(folder, "--override", SIZE, "--overwrite")
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["lenses"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "lens_defualt"), "no simulation preset 'lens_defualt'. Did you mean lens_default"),
        (("--override", "main_lens.axis_ratio"), "must have the form key=value"),
        (("--override", "main_lens.axis_ratio={"), "the value is not YAML"),
        (("--override", "main_lens.axis_ratio=2"), "main_lens.axis_ratio must lie within"),
        (("--override", "main_lens.colour=2"), "no such field"),
        (("--num_workers", "0"), "--num_workers must be at least 1"),
        (("--num_train", "-1"), "--num_train must be at least 0"),
        (("--num_train", "0", "--num_validation", "0", "--num_test", "0"), "nothing to simulate"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_an_impossible_option_is_refused_in_words(run, tmp_path, capsys, options, message):
    assert message in refusal(capsys, run, tmp_path / "lenses", *options)
    assert list(tmp_path.iterdir()) == []
