"""The one door through which lens images on disk become a dataset."""

import logging
from pathlib import Path

from datasets import Array3D, ClassLabel, Dataset, load_dataset

from .deeplense import load_deeplense
from .schema import LABEL_NAMES
from .splits import SPLITS
from .super_resolution import load_super_resolution
from .tasks import Task, check_task


__all__ = ["load_lensing_dataset"]

logger = logging.getLogger(__name__)


def load_lensing_dataset(source: str | Path, split: str = "train", task: Task = "classification") -> Dataset:
    """Loads lens images from a folder into the house's schema, and logs in one line what the folder was taken for.

    Args:
        source: A folder written by `training/simulate.py` (`data/{train,validation,test}-*.parquet`), an official
            DeepLense folder of `.npy` images in classes, or a folder of super-resolution pairs `LR/` and `HR/`.
        split: `"train"`, `"validation"`, `"test"`, or `"all"` for everything in the folder. A folder of `.npy` files
            that is not divided into splits is all `"train"`.
        task: What the rows are for: `"classification"` needs `label`, `"super_resolution"` needs `target`, and
            `"pretraining"` needs `image` alone.

    Returns:
        The dataset in numpy format, with `image`, and `label`, `target` and physical parameters where the source has
        them.

    Raises:
        FileNotFoundError: If there is no such folder.
        NotADirectoryError: If it is a file.
        ValueError: If the folder, the split or a file is not what the task needs; the message names it.
    """
    check_task(task)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    folder = Path(source)
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder of lens images.")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that holds the images.")
    if any(folder.glob("data/*.parquet")):
        return _load_parquet(folder, split, task)
    if task == "super_resolution":
        return load_super_resolution(folder, split)
    return load_deeplense(folder, split, need_labels=task == "classification")


def _load_parquet(folder: Path, split: str, task: Task) -> Dataset:
    pattern = "*.parquet" if split == "all" else f"{split}-*.parquet"
    files = sorted(str(path) for path in folder.glob(f"data/{pattern}"))
    if not files:
        there = sorted({path.name.split("-")[0] for path in folder.glob("data/*.parquet")})
        raise ValueError(f"{folder} has no {split!r} split; its data/ has {', '.join(there)}.")
    dataset = load_dataset("parquet", data_files=files, split="train")
    _check_schema(dataset, folder, task)
    logger.info("%s: Parquet rows in the lens schema, split %s: %d rows.", folder, split, len(dataset))
    return dataset.with_format("numpy")


def _check_schema(dataset: Dataset, folder: Path, task: Task) -> None:
    features = dataset.features
    images = ["image", "target"] if task == "super_resolution" else ["image"]
    for name in images:
        feature = features.get(name)
        if not isinstance(feature, Array3D) or feature.dtype != "float32":
            raise ValueError(
                f"{folder}: task {task} needs a float32 Array3D column {name!r}, got {feature}; "
                f"its columns are {', '.join(features)}."
            )
    label = features.get("label")
    if task == "classification" and (not isinstance(label, ClassLabel) or label.names != list(LABEL_NAMES)):
        raise ValueError(
            f"{folder}: task classification needs a ClassLabel column 'label' of {', '.join(LABEL_NAMES)}, "
            f"got {label}; its columns are {', '.join(features)}."
        )
