import re

import pytest
import yaml
from datasets import Dataset
from huggingface_hub import DatasetCard, HfApi

from lens_transformers.data import lens_features
from lens_transformers.hub import write_dataset_card


def make_dataset(folder, preset="deeplense_model_2", target_shape=None):
    (folder / "data").mkdir(parents=True)
    features = lens_features((1, 8, 8), target_shape=target_shape, label=target_shape is None)
    row = {"image": [[[0.0] * 8] * 8]}
    row |= {"target": [[[0.0] * 16] * 16]} if target_shape else {"label": 1}
    Dataset.from_list([row] * 3, features=features).to_parquet(folder / "data/train-00000-of-00001.parquet")
    description = {
        "preset": preset,
        "seed": 7,
        "splits": {"train": {"first_sample": 0, "num_images": 3}, "test": {"first_sample": 3, "num_images": 1200}},
        "versions": {"torch": "2.13.0"},
        "config": {},
    }
    (folder / "simulation.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder


def test_the_facts_of_a_card_are_those_of_the_files(tmp_path):
    card = DatasetCard.load(write_dataset_card(make_dataset(tmp_path / "lenses"), "org/lenses"))
    assert card.data.task_categories == ["image-classification"]
    assert card.data.size_categories == "1K<n<10K"
    for fact in (
        "| train | 3 |",
        "| test | 1,200 |",
        "| `image` | float32 (1, 8, 8): bands, height, width |",
        "| `label` | 0 = no_sub, 1 = cdm, 2 = axion |",
        "Preset `deeplense_model_2` of `lens_transformers`, seed 7",
        "There is a shortcut",
        'load_dataset("org/lenses"',
    ):
        assert fact in card.text, fact


@pytest.mark.parametrize("target_shape", [None, (1, 16, 16)])
def test_the_code_of_a_card_runs_as_pasted(tmp_path, monkeypatch, capsys, target_shape):
    text = write_dataset_card(make_dataset(tmp_path / "lenses", "sr_deeplense", target_shape)).read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "card", "exec"), {})
    assert capsys.readouterr().out == ("(1, 8, 8) cdm\n" if target_shape is None else "(1, 8, 8) (1, 16, 16)\n")


def test_the_metadata_are_valid_and_a_persons_words_stay(hub, tmp_path):
    folder = make_dataset(tmp_path / "lenses")
    readme = write_dataset_card(folder)
    readme.write_text(readme.read_text().replace("license: apache-2.0", "license: cc-by-4.0") + "\nBy hand.\n")
    card = DatasetCard.load(write_dataset_card(folder))
    card.validate(repo_type="dataset")
    assert card.data.license == "cc-by-4.0"
    assert card.text.endswith("\nBy hand.\n")


def test_a_data_set_that_was_pushed_comes_back_with_its_card(hub, tmp_path):
    folder = make_dataset(tmp_path / "lenses")
    write_dataset_card(folder, "org/lenses")
    HfApi().create_repo("org/lenses", repo_type="dataset")
    HfApi().upload_folder(repo_id="org/lenses", folder_path=folder, repo_type="dataset")
    files = hub.files("org/lenses", kind="dataset")
    for path in ("README.md", "simulation.yaml", "data/train-00000-of-00001.parquet"):
        assert files[path] == (folder / path).read_bytes()
    assert DatasetCard.load("org/lenses").data.size_categories == "1K<n<10K"


def test_a_folder_without_a_simulation_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"simulation.yaml does not exist; training/simulate.py writes it"):
        write_dataset_card(tmp_path)
    (tmp_path / "simulation.yaml").write_text("preset: lens_default\n")
    with pytest.raises(ValueError, match="lacks seed, splits, versions"):
        write_dataset_card(tmp_path)
