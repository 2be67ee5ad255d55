"""Datasets of lenses as folders of Parquet with a card, and on the Hub."""

import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from datasets import Array3D, Dataset
from datasets.utils import tqdm
from huggingface_hub import CommitInfo

from ..data.schema import IMAGE_COLUMNS
from .contact_sheet import contact_sheet
from .dataset_card import DESCRIPTION, SPLITS, write_dataset_card
from .files import write_text_atomically
from .pushing import PushError, push


_MAX_PIXELS_PER_SHARD = 2**27  # half a gigabyte


def push_lensing_dataset(
    datasets: Dataset | Mapping[str, Dataset],
    repo_id: str,
    *,
    license: str,
    provenance: str,
    private: bool | None = None,
    token: str | None = None,
) -> CommitInfo:
    """Pushes a dataset to the Hub as Parquet, with a card and contact sheets, in one commit, as `push` does.

    The images that are there already are replaced; what was written by hand into the card there stays.

    Args:
        datasets: The splits by name, or one dataset, which becomes `"train"`.
        repo_id: Name on the Hub, `"org/name"`.
        license: Licence of the images, as the Hub names it (`"cc-by-4.0"`). There is no default: you must know it.
        provenance: In Markdown, where the images are from and how they were made.
        private: Whether a new repository is private; by default as the organisation has it.
        token: Token for the Hub; by default the one logged in with.

    Returns:
        The commit; as a string, its address.

    Raises:
        ValueError: If an argument or the dataset is not fit to be shared.
        PushError: If the Hub cannot be reached, refuses, or keeps failing. The message names the folder in which the
            dataset was left, and the command that pushes it.
    """
    temporary = Path(tempfile.mkdtemp())
    folder = temporary / repo_id.rpartition("/")[2]
    try:
        write_lensing_dataset(datasets, folder, license=license, provenance=provenance)
        commit = push(folder, repo_id, private=private, token=token)
    except PushError:  # which names the folder
        raise
    except BaseException:
        shutil.rmtree(temporary)
        raise
    shutil.rmtree(temporary)
    return commit


def write_lensing_dataset(
    datasets: Dataset | Mapping[str, Dataset], folder: str | Path, *, license: str, provenance: str
) -> Path:
    """Writes a dataset as a folder that is ready for the Hub, and for `python -m lens_transformers.hub push`.

    It holds `data/<split>-*.parquet`, the card `README.md`, contact sheets, and `dataset.yaml` with the licence and
    provenance, from which the card can be renewed.

    Args:
        datasets: The splits by name, or one dataset, which becomes `"train"`.
        folder: A folder that is not there yet.
        license: Licence of the images, as the Hub names it.
        provenance: In Markdown, where the images are from and how they were made.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder is there.
        ValueError: If licence or provenance is empty, a split has an unknown name or no rows, or the splits differ in
            their columns.
    """
    folder = Path(folder)
    splits = {"train": datasets} if isinstance(datasets, Dataset) else dict(datasets)
    _check(splits, license, provenance)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: give another folder, or move it away.")
    # Of the same name, which is the title of the card.
    unfinished = folder.with_name(f".{folder.name}.unfinished") / folder.name
    shutil.rmtree(unfinished.parent, ignore_errors=True)
    (unfinished / "data").mkdir(parents=True)
    try:
        _write_shards(splits, unfinished / "data")
        for name, dataset in splits.items():
            contact_sheet(dataset).save(unfinished / f"contact_sheet_{name}.png")
        description = yaml.safe_dump({"license": license, "provenance": provenance.strip()}, sort_keys=False)
        write_text_atomically(unfinished / DESCRIPTION, description)
        write_dataset_card(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished.parent, ignore_errors=True)
    return folder


def _check(splits: Mapping[str, Dataset], license: str, provenance: str) -> None:
    for name, text in (("license", license), ("provenance", provenance)):
        if not text.strip():
            raise ValueError(f"{name} is empty: whoever uses the images must know it.")
    for name, dataset in splits.items():
        if name not in SPLITS:
            raise ValueError(f"A split must be one of {', '.join(SPLITS)}, got {name!r}.")
        if not len(dataset):
            raise ValueError(f"The {name} split has no rows.")
        if not isinstance(dataset.features.get("image"), Array3D):
            raise ValueError(f"The {name} split is not in the lens schema: its columns are {dataset.features}.")
    if not splits:
        raise ValueError("There are no splits.")
    features = {name: dataset.features for name, dataset in splits.items()}
    first = next(iter(features))
    for name, found in features.items():
        if found != features[first]:
            raise ValueError(f"The splits differ in their columns: {first} has {features[first]}, {name} has {found}.")


def _write_shards(splits: Mapping[str, Dataset], folder: Path) -> None:
    total = sum(len(dataset) for dataset in splits.values())
    with tqdm(total=total, desc="Writing", unit="image") as bar:
        for name, dataset in splits.items():
            columns = [column for column in IMAGE_COLUMNS if column in dataset.features]
            pixels = sum(math.prod(dataset.features[column].shape) for column in columns)
            num_shards = math.ceil(len(dataset) * pixels / _MAX_PIXELS_PER_SHARD)
            for index in range(num_shards):
                shard = dataset.shard(num_shards, index, contiguous=True)
                shard.to_parquet(folder / f"{name}-{index:05d}-of-{num_shards:05d}.parquet")
                bar.update(len(shard))
