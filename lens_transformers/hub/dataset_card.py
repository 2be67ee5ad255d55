"""Dataset cards: `README.md` of a folder of simulated lenses, its facts read from `simulation.yaml` and the files."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from .files import write_text_atomically
from .generated import environment, generated_part, new_card, read_card, renew


MEASURED = ("size_categories", "task_categories")


def write_dataset_card(folder: str | Path, repo_id: str | None = None) -> Path:
    """Writes the card of a folder that `training/simulate.py` wrote, or renews the generated part of the one there.

    Args:
        folder: The folder, with `simulation.yaml` and `data/*.parquet`.
        repo_id: Name on the Hub, `"org/name"`, for the card's code; without it the code names the folder.

    Returns:
        Path of `README.md`.

    Raises:
        FileNotFoundError: If `simulation.yaml` or the Parquet files are missing.
        ValueError: If one of them, or an existing card, cannot be read.
    """
    folder = Path(folder)
    simulation, columns = _read_simulation(folder), _read_columns(folder)
    num_images = {split: int(facts["num_images"]) for split, facts in simulation["splits"].items()}
    is_pairs = "target" in columns
    data = DatasetCardData(
        license="apache-2.0",
        task_categories=["image-to-image" if is_pairs else "image-classification"],
        size_categories=_size_category(sum(num_images.values())),
        pretty_name=f"Simulated strong gravitational lenses, {simulation['preset']}",
        tags=["strong-gravitational-lensing", "astronomy", "dark-matter", "simulation"],
    )
    text = (
        environment()
        .get_template("simulated_dataset.md")
        .render(
            name=(repo_id or folder.resolve().name).rpartition("/")[2],
            source=repo_id or folder.resolve().name,
            preset=simulation["preset"],
            seed=simulation["seed"],
            num_images=num_images,
            columns=columns,
            is_pairs=is_pairs,
            versions=simulation["versions"],
        )
    )
    block = generated_part(text, "simulation.yaml")
    readme = folder / "README.md"
    if readme.exists():
        card = read_card(DatasetCard, readme.read_bytes().decode("utf-8"), str(readme))
        card = renew(card, data, block, MEASURED, str(readme))
    else:
        card = new_card(DatasetCard, data, block)
    return write_text_atomically(readme, str(card))


def _read_simulation(folder: Path) -> dict[str, Any]:
    path = folder / "simulation.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; training/simulate.py writes it beside the images.")
    try:
        simulation = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}.") from error
    missing = {"preset", "seed", "splits", "versions"} - set(simulation if isinstance(simulation, dict) else ())
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; training/simulate.py writes them.")
    return simulation


def _read_columns(folder: Path) -> dict[str, str]:
    """Name of each column and what it holds, in words."""
    files = sorted((folder / "data").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{folder / 'data'} has no .parquet files; training/simulate.py writes them.")
    try:
        schema = pyarrow.parquet.read_schema(files[0])
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{files[0]} is no Parquet file: {error}.") from error
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {name: _in_words(features.get(name, {}), str(schema.field(name).type)) for name in schema.names}


def _in_words(feature: dict[str, Any], arrow_type: str) -> str:
    if "shape" in feature:
        return f"{feature['dtype']} {tuple(feature['shape'])}: bands, height, width"
    if "names" in feature:
        return ", ".join(f"{index} = {name}" for index, name in enumerate(feature["names"]))
    return feature.get("dtype", arrow_type)


def _size_category(num_images: int) -> str:
    """The Hub's name for so many rows."""
    limits = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for limit, name in limits if num_images < limit), "1M<n<10M")
