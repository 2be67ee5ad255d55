import re

import pytest
import yaml
from datasets import Dataset
from huggingface_hub import DatasetCard

from lens_transformers.data import lens_features
from lens_transformers.hub import dataset_card, write_dataset_card
from lens_transformers.simulation import PRESETS, get_preset


def make_dataset(folder, preset="deeplense_model_2", target_shape=None, instrument=None):
    (folder / "data").mkdir(parents=True)
    features = lens_features((1, 8, 8), target_shape=target_shape, label=target_shape is None)
    row = {"image": [[[0.0] * 8] * 8]}
    row |= {"target": [[[0.0] * 16] * 16]} if target_shape else {"label": 1}
    Dataset.from_list([row] * 3, features=features).to_parquet(folder / "data/train-00000-of-00001.parquet")
    Dataset.from_list([row] * 1200, features=features).to_parquet(folder / "data/test-00000-of-00001.parquet")
    config = get_preset(preset)
    description = {
        "preset": preset,
        "seed": 7,
        "splits": {"train": {"first_sample": 0, "num_images": 3}, "test": {"first_sample": 3, "num_images": 1200}},
        "versions": {"torch": "2.13.0"},
        "config": (config if instrument is None else config.observed_by(instrument)).to_dict(),
    }
    (folder / "simulation.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return folder


def test_the_facts_of_a_card_are_those_of_the_files(tmp_path):
    card = DatasetCard.load(write_dataset_card(make_dataset(tmp_path / "lenses"), "org/lenses"))
    assert card.data.task_categories == ["image-classification"]
    assert card.data.size_categories == "1K<n<10K"
    for fact in (
        "| split | images | no_sub | cdm | axion |",
        "| train | 3 | 0 | 3 | 0 |",
        "| test | 1,200 | 0 | 1,200 | 0 |",
        "| `image` | surface brightness: float32 of (bands, height, width) = (1, 8, 8) |",
        "| `label` | kind of dark matter: 0 = no_sub, 1 = cdm, 2 = axion |",
        "Preset `deeplense_model_2` of `lens_transformers`, seed 7",
        "There is a shortcut",
        'load_dataset("org/lenses"',
    ):
        assert fact in card.text, fact


def test_the_card_of_a_simulation_is_the_same_whatever_its_folder_is_called(tmp_path):
    cards = [write_dataset_card(make_dataset(tmp_path / name)).read_text() for name in ("one", "two")]
    assert cards[0] == cards[1] and "one" not in DatasetCard(cards[0]).data.pretty_name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_its_limit(preset, tmp_path):
    limits = write_dataset_card(make_dataset(tmp_path, preset)).read_text().partition("## Limits")[2]
    assert limits.count("\n- ") == 2


def test_what_is_known_of_a_preset_is_not_said_of_it_through_another_instrument(tmp_path):
    card = write_dataset_card(make_dataset(tmp_path, "lens_default", instrument="euclid_vis")).read_text()
    assert "Preset `lens_default` of `lens_transformers`, changed, seed 7" in card
    limits = card.partition("## Limits")[2]
    assert limits.count("\n- ") == 1 and "a configuration that is not its preset's alone" in limits


@pytest.mark.parametrize("target_shape", [None, (1, 16, 16)])
def test_the_code_of_a_card_runs_as_pasted(tmp_path, monkeypatch, capsys, target_shape):
    text = write_dataset_card(make_dataset(tmp_path / "lenses", "sr_deeplense", target_shape)).read_text()
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path / "lenses")
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


@pytest.mark.parametrize(
    ("num_images", "category"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**7, "10M<n<100M"), (10**12, "n>1T")],
)
def test_the_size_category_is_one_of_the_hubs(num_images, category):
    assert dataset_card._size_category(num_images) == category


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "has neither simulation.yaml, which training/simulate.py writes, nor dataset.yaml"),
        ({"simulation.yaml": "preset: lens_default\n"}, "simulation.yaml lacks seed, splits, versions"),
        ({"dataset.yaml": "license: mit\n"}, "dataset.yaml lacks provenance"),
        ({"dataset.yaml": "license: mit\nprovenance: ' '\n"}, "dataset.yaml: provenance is empty"),
        ({"dataset.yaml": "license: [\n"}, "dataset.yaml is not YAML"),
        ({"dataset.yaml": "license: mit\nprovenance: Drawn.\n"}, "data has no .parquet files"),
    ],
)
def test_a_folder_that_says_too_little_is_refused(description, message, tmp_path):
    for name, text in (description or {}).items():
        (tmp_path / name).write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        write_dataset_card(tmp_path)
