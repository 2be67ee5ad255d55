"""Dataset cards: `README.md` of a folder of lens images, its facts read from the Parquet files and a description."""

from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import yaml
from datasets import Array3D, ClassLabel, DatasetInfo, Features
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData

from ..data.schema import LABEL_NAMES
from .files import write_text_atomically
from .generated import GeneratedCard, environment, generated_part, merge_card, render_card
from .results import is_preset


# What says where the images are from, and must be in it.
SIMULATION, DESCRIPTION = "simulation.yaml", "dataset.yaml"
NEEDED = {SIMULATION: {"preset", "seed", "splits", "versions"}, DESCRIPTION: {"license", "provenance"}}
SPLITS = ("train", "validation", "test")
MEASURED = ("size_categories", "task_categories", "configs", "dataset_info")
TASK_CATEGORIES = {
    "classification": "image-classification",
    "super_resolution": "image-to-image",
    "pretraining": "image-feature-extraction",
}
COLUMN_MEANINGS = {
    "image": "surface brightness",
    "target": "the same lens in high resolution",
    "noise_map": "standard deviation of every pixel of the image",
    "psf": "point spread function of every band",
    "label": "kind of dark matter",
}


def is_dataset_folder(folder: str | Path) -> bool:
    """Whether a folder holds a data set, rather than a checkpoint."""
    return bool(_shards(Path(folder))) and not (Path(folder) / "config.json").exists()


def write_dataset_card(folder: str | Path, repo_id: str | None = None) -> Path:
    """Writes the card of a folder of lens images, or renews the generated part of the one there.

    Args:
        folder: What `training/simulate.py` or `write_lensing_dataset` wrote: `data/<split>-*.parquet`, and
            `simulation.yaml` or `dataset.yaml`.
        repo_id: Name on the Hub, `"org/name"`, for the card's code. Without it the code is to be run in the folder,
            and the card of a simulation is the same whatever the folder is called.

    Returns:
        Path of `README.md`.

    Raises:
        FileNotFoundError: If the description or the Parquet files are missing.
        ValueError: If one of them, or an existing card, cannot be read.
    """
    return write_text_atomically(Path(folder) / "README.md", render_dataset_card(folder, repo_id))


def render_dataset_card(folder: str | Path, repo_id: str | None = None) -> str:
    """The text that `write_dataset_card` would write; it takes the same arguments and raises the same errors."""
    return render_card(_generated(Path(folder), repo_id), Path(folder) / "README.md")


def merge_dataset_card(folder: str | Path, repo_id: str, published: str | None) -> str:
    """The card to push, of a folder of lens images, by `merge_card`; it raises FileNotFoundError as well."""
    return merge_card(_generated(Path(folder), repo_id), Path(folder) / "README.md", repo_id, published)


def _generated(folder: Path, repo_id: str | None) -> GeneratedCard:
    source, description = _read_description(folder)
    features, counts = _read_shards(folder)
    is_simulated = source == SIMULATION
    name = (repo_id or folder.resolve().name).rpartition("/")[2]
    title = f"Simulated strong gravitational lenses, {description['preset']}" if is_simulated else name
    task = "super_resolution" if "target" in features else "classification" if "label" in features else "pretraining"
    data = DatasetCardData(
        license="apache-2.0" if is_simulated else description["license"],
        task_categories=[TASK_CATEGORIES[task]],
        size_categories=_size_category(sum(sum(numbers) for numbers in counts.values())),
        pretty_name=title,
        tags=["strong-gravitational-lensing", "astronomy", "dark-matter", *(["simulation"] if is_simulated else [])],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts],
            }
        ],
    )
    DatasetInfosDict({"default": DatasetInfo(features=features)}).to_dataset_card_data(data)
    has_classes = "label" in features
    text = (
        environment()
        .get_template("dataset.md")
        .render(
            title=title,
            repo_id=repo_id,
            task=task,
            splits=list(counts),
            classes=list(LABEL_NAMES) if has_classes else [],
            counts=[
                [split, f"{sum(numbers):,}", *(f"{number:,}" for number in numbers if has_classes)]
                for split, numbers in counts.items()
            ],
            columns=[(f"`{column}`", _in_words(column, feature)) for column, feature in features.items()],
            simulation=description if is_simulated else None,
            is_preset=is_simulated and is_preset(description),
            provenance=description.get("provenance"),
        )
    )
    # Of other sets the description says the licence, and is what to change.
    measured = MEASURED if is_simulated else (*MEASURED, "license")
    return GeneratedCard(DatasetCard, data, generated_part(text, source), measured)


def _read_description(folder: Path) -> tuple[str, dict[str, Any]]:
    """Name and content of the file that says where the images are from."""
    name = next((name for name in NEEDED if (folder / name).is_file()), None)
    if name is None:
        raise FileNotFoundError(
            f"{folder} has neither {SIMULATION}, which training/simulate.py writes, nor {DESCRIPTION}, which says "
            "`license: …` and, in Markdown, `provenance: …`."
        )
    path = folder / name
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}.") from error
    missing = NEEDED[name] - set(description if isinstance(description, dict) else ())
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}.")
    for key in NEEDED[DESCRIPTION] & NEEDED[name]:
        if not str(description[key] or "").strip():
            raise ValueError(f"{path}: {key} is empty: whoever uses the images must know it.")
    return name, description


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "data").glob("*.parquet"))


def _read_shards(folder: Path) -> tuple[Features, dict[str, list[int]]]:
    """The columns, and for every split the number of images: of each class, or, where there are none, of all."""
    shards = _shards(folder)
    if not shards:
        raise FileNotFoundError(f"{folder / 'data'} has no .parquet files.")
    counts: dict[str, np.ndarray] = {split: np.zeros(len(LABEL_NAMES), int) for split in SPLITS}
    for path in shards:
        split = path.name.partition("-")[0]
        if split not in SPLITS:
            raise ValueError(f"{path}: the name must begin with {', '.join(SPLITS)} and a dash.")
        try:
            features = Features.from_arrow_schema(pyarrow.parquet.read_schema(path))
            columns = ["label"] if "label" in features else []
            table = pyarrow.parquet.read_table(path, columns=columns)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is no Parquet file: {error}.") from error
        labels = table["label"].to_numpy() if columns else np.zeros(table.num_rows, int)
        counts[split] += np.bincount(labels, minlength=len(LABEL_NAMES))
    return features, {split: numbers.tolist() for split, numbers in counts.items() if numbers.any()}


def _in_words(column: str, feature: Any) -> str:
    if isinstance(feature, Array3D):
        kind = f"{feature.dtype} of (bands, height, width) = {tuple(feature.shape)}"
    elif isinstance(feature, ClassLabel):
        kind = ", ".join(f"{index} = {name}" for index, name in enumerate(feature.names))
    else:
        kind = getattr(feature, "dtype", str(feature))
    return f"{COLUMN_MEANINGS[column]}: {kind}" if column in COLUMN_MEANINGS else kind


def _size_category(num_images: int) -> str:
    """The Hub's name for so many rows."""
    limits = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    names = ["n<1K", *(f"{low}<n<{high}" for low, high in pairwise(limits)), "n>1T"]
    return names[bisect_right([10**exponent for exponent in range(3, 13)], num_images)]
