import re

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from lens_transformers.data import lens_features, load_lensing_dataset
from lens_transformers.data.schema import dataset_from_chunks
from lens_transformers.hub import PushError, check, push, push_lensing_dataset, write_lensing_dataset
from lens_transformers.hub.__main__ import main
from lens_transformers.hub.contact_sheet import contact_sheet


ABOUT = {"license": "cc-by-4.0", "provenance": "Drawn from a seed."}


def _dataset(count=6, seed=0, label=True, target=False):
    rng = np.random.default_rng(seed)
    columns = {"image": rng.random((count, 1, 8, 8), dtype=np.float32)}
    columns |= {"target": rng.random((count, 1, 16, 16), dtype=np.float32)} if target else {}
    columns |= {"label": np.arange(count) % 3} if label else {}
    features = lens_features((1, 8, 8), target_shape=(1, 16, 16) if target else None, label=label)
    return dataset_from_chunks([columns], features)


def test_a_written_folder_loads_bit_for_bit_here_and_by_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr("lens_transformers.hub.sharing._MAX_PIXELS_PER_SHARD", 3 * 64)
    splits = {"train": _dataset(), "test": _dataset(3, seed=1)}
    folder = write_lensing_dataset(splits, tmp_path / "lenses", **ABOUT)
    assert len(list((folder / "data").glob("train-*-of-00002.parquet"))) == 2
    by_datasets = load_dataset(str(folder))
    for name, dataset in splits.items():
        loaded = load_lensing_dataset(folder, name)
        assert loaded.features == by_datasets[name].features == dataset.features
        np.testing.assert_array_equal(loaded["image"][:], dataset["image"][:])
        np.testing.assert_array_equal(by_datasets[name].with_format("numpy")["image"][:], dataset["image"][:])
    assert [path.name for path in tmp_path.iterdir()] == ["lenses"]


def test_the_card_tells_schema_classes_counts_provenance_and_licence(tmp_path):
    folder = write_lensing_dataset({"train": _dataset(), "test": _dataset(3)}, tmp_path / "lenses", **ABOUT)
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "cc-by-4.0" and card.data.task_categories == ["image-classification"]
    assert [entry["split"] for entry in card.data.configs[0]["data_files"]] == ["train", "test"]
    for text in (
        "| `image` | surface brightness: float32 of (bands, height, width) = (1, 8, 8) |",
        "| `label` | kind of dark matter: 0 = no_sub, 1 = cdm, 2 = axion |",
        "| split | images | no_sub | cdm | axion |\n|:--|:--|:--|:--|:--|",
        "| train | 6 | 2 | 2 | 2 |\n| test | 3 | 1 | 1 | 1 |",
        "Drawn from a seed.",
    ):
        assert text in card.text, card.text
    for split in ("train", "test"):
        assert f"(contact_sheet_{split}.png)" in card.text
        assert Image.open(folder / f"contact_sheet_{split}.png").size == (8 * 96, 3 * 110)


def test_the_contact_sheet_has_a_row_a_class_or_the_pairs():
    assert contact_sheet(_dataset()).size == (8 * 96, 3 * 110)
    sheet = contact_sheet(_dataset(label=False, target=True), per_row=4)
    assert sheet.size == (4 * 96, 2 * 110) and np.ptp(np.asarray(sheet)) > 200


def test_three_bands_are_a_colour_picture_and_the_sky_is_upwards():
    images = np.zeros((1, 3, 8, 8), np.float32)
    images[0, 0, 0] = 1  # blue light in the first row, which is the lowest
    dataset = dataset_from_chunks([{"image": images}], lens_features((3, 8, 8), label=False))
    pixels = np.asarray(contact_sheet(dataset))[14:, :96]
    assert pixels[-1, 48].tolist() == [0, 0, 255] and not pixels[:60].any()


REPO = "org/lenses"


def _titles(hub):
    return [commit.title for commit in hub.repo(REPO, "dataset").history()]


def test_pushing_makes_one_commit_from_which_the_images_come_back(hub, tmp_path):
    dataset = _dataset()
    commit = push_lensing_dataset(dataset, REPO, **ABOUT, private=True)
    assert str(commit).startswith(f"{hub.endpoint}/datasets/{REPO}/commit/")
    assert _titles(hub) == ["Push lenses with its card", "initial commit"] and hub.repo(REPO, "dataset").private
    files = hub.files(REPO, kind="dataset")
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "contact_sheet_train.png",
        "data/train-00000-of-00001.parquet",
        "dataset.yaml",
    }
    (tmp_path / "train.parquet").write_bytes(files["data/train-00000-of-00001.parquet"])
    np.testing.assert_array_equal(load_lensing_dataset(tmp_path)["image"][:], dataset["image"][:])
    card = DatasetCard.load(REPO)
    assert f'load_dataset("{REPO}", split="train")' in card.text and card.data.license == "cc-by-4.0"
    card.validate(repo_type="dataset")


def test_pushing_again_replaces_the_images_and_keeps_what_was_written_by_hand(hub, monkeypatch):
    monkeypatch.setattr("lens_transformers.hub.sharing._MAX_PIXELS_PER_SHARD", 3 * 64)
    push_lensing_dataset({"train": _dataset(), "test": _dataset(3)}, REPO, **ABOUT)
    edited = hub.files(REPO, kind="dataset")["README.md"].decode().replace("- astronomy", "- astronomy\n- mine")
    hub.edit(REPO, "README.md", (edited + "\n## Thanks\n\nTo my group.\n").encode(), kind="dataset")
    push_lensing_dataset(_dataset(3), REPO, license="mit", provenance="Drawn anew.")
    files = hub.files(REPO, kind="dataset")
    assert [name for name in files if name.startswith("data/")] == ["data/train-00000-of-00001.parquet"]
    assert "contact_sheet_test.png" not in files
    card = DatasetCard(files["README.md"].decode())
    assert card.text.endswith("## Thanks\n\nTo my group.\n") and "mine" in card.data.tags
    assert "Drawn anew." in card.text and "Drawn from a seed." not in card.text and "| train | 3 |" in card.text
    # The licence is what the caller says it is.
    assert card.data.license == "mit" and len(card.data.configs[0]["data_files"]) == 1


def test_a_push_that_fails_leaves_the_folder_and_names_the_command(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hub.fail_next("POST", "/commit/main", "status", times=4, status=503)
    with pytest.raises(PushError, match=r"python -m lens_transformers\.hub push (.*/lenses) org/lenses") as error:
        push_lensing_dataset(_dataset(), REPO, **ABOUT)
    folder = re.search(r"hub push (\S+)", str(error.value))[1]
    assert main(["push", folder, REPO]) == 0 and "data/train-00000-of-00001.parquet" in hub.files(REPO, kind="dataset")


def test_what_cannot_be_pushed_leaves_nothing(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="is no name of a repository"):
        push_lensing_dataset(_dataset(), "org/len ses", **ABOUT)
    push_lensing_dataset(_dataset(), REPO, **ABOUT)
    assert not list(tmp_path.iterdir())


def test_the_commands_check_and_push_a_folder_of_simulated_lenses(hub, tmp_path, capsys):
    folder = write_lensing_dataset(_dataset(), tmp_path / "lenses", **ABOUT)
    (folder / "dataset.yaml").unlink()
    (folder / "README.md").unlink()
    description = {
        "preset": "lens_default",
        "seed": 3,
        "splits": {"train": {"first_sample": 0, "num_images": 6}},
        "versions": {"torch": "2.13.0"},
        "files": {"/home/someone/galaxies.npy": "0a1b"},
        "config": {"source_images": {"path": "/home/someone/galaxies.npy"}},
    }
    (folder / "simulation.yaml").write_text(yaml.safe_dump(description))
    (folder / "notes.txt").write_text("mine")
    assert main(["check", str(folder)]) == 0 and "Ready to be pushed." in capsys.readouterr().out
    assert main(["push", str(folder), REPO]) == 0
    files = hub.files(REPO, kind="dataset")
    assert {"README.md", "simulation.yaml", "data/train-00000-of-00001.parquet"} < set(files)
    assert "notes.txt" not in files and b"someone" not in b"".join(files.values())
    assert yaml.safe_load(files["simulation.yaml"])["config"] == {"source_images": {"path": "galaxies.npy"}}
    assert main(["push", str(folder), REPO]) == 0 and len(_titles(hub)) == 2


def test_a_folder_that_lacks_a_shard_or_its_description_is_not_pushed(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("lens_transformers.hub.sharing._MAX_PIXELS_PER_SHARD", 3 * 64)
    folder = write_lensing_dataset(_dataset(), tmp_path / "lenses", **ABOUT)
    (folder / "data/train-00000-of-00002.parquet").unlink()
    (folder / "dataset.yaml").unlink()
    problems = check(folder).problems
    assert len(problems) == 2 and "neither simulation.yaml" in problems[0]
    assert "data has 1 of the 2 shards of the split train" in problems[1]
    with pytest.raises(ValueError, match="nothing was sent"):
        push(folder, REPO)
    assert not hub.repos


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"license": " "}, "license is empty"),
        ({"provenance": ""}, "provenance is empty"),
        ({"datasets": {"dev": _dataset()}}, "A split must be one of train, validation, test, got 'dev'"),
        ({"datasets": {}}, "There are no splits"),
        ({"datasets": {"train": _dataset().select([])}}, "The train split has no rows"),
        ({"datasets": _dataset().remove_columns("image")}, "not in the lens schema"),
        ({"datasets": {"train": _dataset(), "test": _dataset(label=False)}}, "The splits differ in their columns"),
    ],
)
def test_what_is_not_fit_to_be_shared_is_refused_and_nothing_is_left(change, message, tmp_path):
    arguments = {"datasets": _dataset(), **ABOUT, **change}
    with pytest.raises(ValueError, match=message):
        write_lensing_dataset(folder=tmp_path / "lenses", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        write_lensing_dataset(_dataset(), tmp_path, **ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("lens_transformers.hub.sharing.write_dataset_card", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_lensing_dataset(_dataset(), tmp_path / "lenses", **ABOUT)
    assert not list(tmp_path.iterdir())
