"""Datasets of lenses as folders of Parquet with a card, and on the Hub."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2
import numpy as np
from datasets import Array3D, ClassLabel, Dataset, DatasetInfo
from datasets.info import DatasetInfosDict
from datasets.utils import tqdm
from huggingface_hub import DatasetCard, DatasetCardData, HfApi
from huggingface_hub.utils import validate_repo_id
from PIL import Image, ImageDraw

from .folders import SPLITS
from .schema import IMAGE_COLUMNS, LABEL_NAMES


__all__ = ["contact_sheet", "push_lensing_dataset", "write_lensing_dataset"]

_MAX_PIXELS_PER_SHARD = 2**27  # half a gigabyte
_CONTACT_SHEET = "contact_sheet.png"
_COLUMN_MEANING = {
    "image": "surface brightness",
    "target": "the same lens in high resolution",
    "noise_map": "standard deviation of every pixel of the image",
    "psf": "point spread function of every band",
    "label": "kind of dark matter",
}


def push_lensing_dataset(
    datasets: Dataset | Mapping[str, Dataset],
    repo_id: str,
    *,
    license: str,
    provenance: str,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Pushes a dataset to the Hub as Parquet, with a card and a contact sheet, in one commit.

    What is in `data/` there, and the card, are replaced.

    Args:
        datasets: The splits by name, or one dataset, which becomes `"train"`.
        repo_id: Name on the Hub, `"org/name"`.
        license: Licence of the images, as the Hub names it (`"cc-by-4.0"`). There is no default: you must know it.
        provenance: In Markdown, where the images are from and how they were made.
        private: Whether a new repository is private; by default as the organisation has it.
        token: Token for the Hub; by default the one logged in with.

    Returns:
        Address of the commit.

    Raises:
        ValueError: If an argument or the dataset is not fit to be shared.
    """
    validate_repo_id(repo_id)
    api = HfApi(token=token)
    with TemporaryDirectory() as temporary:
        folder = write_lensing_dataset(
            datasets, Path(temporary) / "dataset", license=license, provenance=provenance, repo_id=repo_id
        )
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Upload lens images",
            delete_patterns=["data/*"],
        )
    return str(commit)


def write_lensing_dataset(
    datasets: Dataset | Mapping[str, Dataset],
    folder: str | Path,
    *,
    license: str,
    provenance: str,
    repo_id: str | None = None,
) -> Path:
    """Writes a dataset as a folder that is ready for the Hub: `data/*.parquet`, `README.md` and a contact sheet.

    Args:
        datasets: The splits by name, or one dataset, which becomes `"train"`.
        folder: A folder that is not there yet.
        license: Licence of the images, as the Hub names it.
        provenance: In Markdown, where the images are from and how they were made.
        repo_id: The name that the card's code loads; by default the folder's.

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
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "data").mkdir(parents=True)
    try:
        _write_shards(splits, unfinished / "data")
        contact_sheet(next(iter(splits.values()))).save(unfinished / _CONTACT_SHEET)
        card = _card(splits, license, provenance, repo_id or folder.name)
        card.save(unfinished / "README.md")
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def contact_sheet(dataset: Dataset, per_row: int = 8, size: int = 96) -> Image.Image:
    """Draws the first images of every class, or of the set and their targets, in one picture.

    Args:
        dataset: Rows with `image`.
        per_row: Images in a row.
        size: Width and height of each in pixels.

    Returns:
        A grey picture: the first band, from its 1st to its 99.8th percentile, arcsinh-stretched.
    """
    rows = dataset.with_format("numpy")
    strips: list[tuple[str, list[np.ndarray]]] = []
    if "label" in dataset.features:
        labels = np.asarray(rows["label"][:])
        for index, name in enumerate(LABEL_NAMES):
            chosen = rows.select(np.flatnonzero(labels == index)[:per_row])
            strips.append((name, [row["image"] for row in chosen]))
    else:
        chosen = rows.select(range(min(per_row, len(rows))))
        for column in ("image", "target"):
            if column in dataset.features:
                strips.append((column, [row[column] for row in chosen]))
    title = 14
    sheet = Image.new("L", (per_row * size, len(strips) * (size + title)), 255)
    draw = ImageDraw.Draw(sheet)
    for number, (name, images) in enumerate(strips):
        top = number * (size + title)
        draw.text((2, top + 1), name, fill=0)
        for position, image in enumerate(images):
            sheet.paste(_thumbnail(image[0], size), (position * size, top + title))
    return sheet


def _check(splits: Mapping[str, Dataset], license: str, provenance: str) -> None:
    for name, text in (("license", license), ("provenance", provenance)):
        if not text.strip():
            raise ValueError(f"{name} is empty: whoever uses the images must know it.")
    for name, dataset in splits.items():
        if name not in SPLITS or name == "all":
            raise ValueError(f"A split must be one of train, validation, test, got {name!r}.")
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
            pixels = sum(math.prod(dataset.features[column].shape) for column in _image_columns(dataset))
            num_shards = math.ceil(len(dataset) * pixels / _MAX_PIXELS_PER_SHARD)
            for index in range(num_shards):
                shard = dataset.shard(num_shards, index, contiguous=True)
                shard.to_parquet(folder / f"{name}-{index:05d}-of-{num_shards:05d}.parquet")
                bar.update(len(shard))


def _image_columns(dataset: Dataset) -> list[str]:
    return [name for name in IMAGE_COLUMNS if name in dataset.features]


def _card(splits: Mapping[str, Dataset], license: str, provenance: str, repo_id: str) -> DatasetCard:
    features = next(iter(splits.values())).features
    has_label, has_target = "label" in features, "target" in features
    task = "classification" if has_label else "super_resolution" if has_target else "pretraining"
    categories = {"classification": "image-classification", "super_resolution": "image-to-image"}
    name = repo_id.rpartition("/")[2]
    data = DatasetCardData(
        license=license,
        pretty_name=name,
        task_categories=[categories.get(task, "image-feature-extraction")],
        tags=["strong-gravitational-lensing", "astronomy", "dark-matter"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*"} for split in splits],
            }
        ],
    )
    DatasetInfosDict({"default": DatasetInfo(features=features)}).to_dataset_card_data(data)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lens_transformers", "hub_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("dataset.md").render(
        name=name,
        repo_id=repo_id,
        task=task,
        first_split=next(iter(splits)),
        contact_sheet=_CONTACT_SHEET,
        columns=[(f"`{column}`", _describe(column, feature)) for column, feature in features.items()],
        classes=list(LABEL_NAMES) if has_label else [],
        counts=[(split, len(dataset), *_class_counts(dataset)) for split, dataset in splits.items()],
        provenance=provenance.strip(),
        license=license,
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text.strip()}\n")


def _describe(column: str, feature: object) -> str:
    meaning = _COLUMN_MEANING.get(column, column.replace("_", " "))
    if isinstance(feature, Array3D):
        return f"{meaning}: {feature.dtype} of (bands, height, width) = {tuple(feature.shape)}"
    if isinstance(feature, ClassLabel):
        return f"{meaning}: {', '.join(f'{index} {name}' for index, name in enumerate(feature.names))}"
    return f"{meaning}: {getattr(feature, 'dtype', feature)}"


def _class_counts(dataset: Dataset) -> list[int]:
    if "label" not in dataset.features:
        return []
    return np.bincount(np.asarray(dataset.with_format("numpy")["label"][:]), minlength=len(LABEL_NAMES)).tolist()


def _thumbnail(band: np.ndarray, size: int) -> Image.Image:
    low, high = np.percentile(band, (1, 99.8))
    scaled = np.arcsinh(10 * np.clip((band - low) / max(high - low, 1e-30), 0, 1)) / np.arcsinh(10)
    return Image.fromarray((255 * scaled).astype(np.uint8)).resize((size, size))
