import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from lens_transformers.data import (
    lens_features,
    load_lensing_dataset,
    push_lensing_dataset,
    write_lensing_dataset,
)
from lens_transformers.data.schema import dataset_from_chunks
from lens_transformers.data.sharing import contact_sheet


ABOUT = {"license": "cc-by-4.0", "provenance": "Drawn from a seed."}


def _dataset(count=6, seed=0, label=True, target=False):
    rng = np.random.default_rng(seed)
    columns = {"image": rng.random((count, 1, 8, 8), dtype=np.float32)}
    columns |= {"target": rng.random((count, 1, 16, 16), dtype=np.float32)} if target else {}
    columns |= {"label": np.arange(count) % 3} if label else {}
    features = lens_features((1, 8, 8), target_shape=(1, 16, 16) if target else None, label=label)
    return dataset_from_chunks([columns], features)


def test_a_written_folder_loads_bit_for_bit_here_and_by_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr("lens_transformers.data.sharing._MAX_PIXELS_PER_SHARD", 3 * 64)
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
        "| `label` | kind of dark matter: 0 no_sub, 1 cdm, 2 axion |",
        "| split | images | no_sub | cdm | axion |\n|:--|:--|:--|:--|:--|",
        "| train | 6 | 2 | 2 | 2 |\n| test | 3 | 1 | 1 | 1 |",
        "Drawn from a seed.",
        "## Licence\n\ncc-by-4.0",
    ):
        assert text in card.text, card.text
    assert Image.open(folder / "contact_sheet.png").size[0] > 0


def test_the_contact_sheet_has_a_row_a_class_or_the_pairs():
    assert contact_sheet(_dataset()).size == (8 * 96, 3 * 110)
    sheet = contact_sheet(_dataset(label=False, target=True), per_row=4)
    assert sheet.size == (4 * 96, 2 * 110) and np.ptp(np.asarray(sheet)) > 200


def test_pushing_sends_the_folder_in_one_commit(monkeypatch):
    calls = []

    class Api:
        def __init__(self, token):
            calls.append(("token", token))

        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options))

        def upload_folder(self, *, folder_path, **options):
            loaded = load_lensing_dataset(folder_path)
            calls.append(("upload", sorted(path.name for path in folder_path.iterdir()), len(loaded), options))
            return "https://hub/commit/1"

    monkeypatch.setattr("lens_transformers.data.sharing.HfApi", Api)
    url = push_lensing_dataset(_dataset(), "org/lenses", **ABOUT, private=True, token="secret")
    assert url == "https://hub/commit/1"
    token, create, upload = calls
    assert token == ("token", "secret")
    assert create == ("create", "org/lenses", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert upload[1:3] == (["README.md", "contact_sheet.png", "data"], 6)
    assert upload[3]["repo_id"] == "org/lenses" and upload[3]["repo_type"] == "dataset"
    assert upload[3]["delete_patterns"] == ["data/*"]


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

    monkeypatch.setattr("lens_transformers.data.sharing._card", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_lensing_dataset(_dataset(), tmp_path / "lenses", **ABOUT)
    assert not list(tmp_path.iterdir())
