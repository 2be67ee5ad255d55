"""The images of a run: to train on, to choose by and to test on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from command_line import DataArguments
from datasets import Dataset

from lens_transformers.data import (
    NoSuchSplitError,
    files_of_rows,
    find_duplicates,
    load_lensing_dataset,
    split_by_content,
)
from lens_transformers.data.splits import content_hashes, count_duplicates
from lens_transformers.data.tasks import Task
from lens_transformers.hub.results import is_preset
from lens_transformers.report.loading import READING, draw_rows, make_fits_layout


logger = logging.getLogger(__name__)

# Share of the training images that a checkpoint is chosen by where there are no validation images.
HELD_OUT_FRACTION = 0.1


@dataclass
class Splits:
    """The images of a run.

    Attributes:
        train: What to train on; may be a stream.
        validation: What to choose by, if there is any.
        test: What to measure at the end.
        drawn: Which rows of their source the test images are, where `--max_test_samples` left some out.
        duplicates: How many images are there more than once, by the splits that share them; not known of a stream.
    """

    train: Any
    validation: Dataset | None
    test: Dataset
    drawn: np.ndarray | None
    duplicates: dict[str, int] | None = None

    def look_for_duplicates(self) -> None:
        """Count images that are in more than one split, and warn of them; of a stream nothing is known."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if isinstance(self.train, Dataset):
            found = find_duplicates({name: images for name, images in splits.items() if images is not None})
            self.duplicates = count_duplicates(found)


def load_splits(arguments: DataArguments, task: Task, streaming: bool = False, choosing: bool = False) -> Splits:
    """Load the images of a run.

    Args:
        arguments: Which they are.
        task: What for.
        streaming: Whether to train on a stream.
        choosing: Whether anything is chosen while training: never by the images that are tested on.

    Raises:
        ValueError: If images to choose by are needed, and a stream has none; or those to test on have other bands
            than those to train on.
    """
    train = _load(arguments, "train", task, streaming=streaming)
    if arguments.test_dataset is None:
        test = _load(arguments, "test", task)
    else:
        test = _load(arguments, "all", task, arguments.test_dataset)
    num_bands, num_tested = (images.features["image"].shape[0] for images in (train, test))
    if num_tested != num_bands:
        raise ValueError(
            f"{arguments.test_dataset or arguments.dataset}: the images to test on have {num_tested} bands, those to "
            f"train on {num_bands}."
        )
    drawn = _draw(arguments.max_test_samples, test, arguments.split_seed)
    test = test if drawn is None else test.select(drawn)
    if streaming:
        if arguments.max_train_samples is not None:
            train = train.take(arguments.max_train_samples)
        validation = load_validation(arguments, task, test)
        if validation is None and (choosing or arguments.validation_fraction):
            raise ValueError(
                f"{arguments.dataset} has no validation images, and of a stream none are held out: leave out "
                "--validation_fraction and what chooses by them, which are --load_best_model_at_end, --save_strategy "
                "best and --lr_scheduler_type reduce_lr_on_plateau."
            )
        return Splits(train, validation, test, drawn)
    drawn_train = _draw(arguments.max_train_samples, train, arguments.split_seed)
    train = train if drawn_train is None else train.select(drawn_train)
    validation = None if arguments.validation_fraction else load_validation(arguments, task, test)
    fraction = arguments.validation_fraction or (HELD_OUT_FRACTION if choosing and validation is None else 0.0)
    if fraction:
        train, validation = hold_out(train, fraction, arguments.split_seed)
        logger.info("%d of the training images are held out, as validation images.", len(validation))
    return Splits(train, validation, test, drawn)


def load_validation(arguments: DataArguments, task: Task, test: Dataset) -> Dataset | None:
    """Load the dataset's own validation images, but for those that are tested on; `None` if there are none.

    Raises:
        ValueError: If there are some that cannot be used.
    """
    try:
        validation = _load(arguments, "validation", task)
    except NoSuchSplitError as error:
        logger.info("Without validation images: %s", error)
        return None
    # Official sets have no test split: their validation images are what people test on.
    tested = set(content_hashes(test))
    kept = [row for row, content in enumerate(content_hashes(validation)) if content not in tested]
    if not kept:
        logger.info("Without validation images: all of %s are tested on.", arguments.dataset)
        return None
    return validation.select(kept)


def hold_out(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divide training images, by their content, into those to train on and those to choose by."""
    # The training images may be what the same seed left of a division already.
    splits = split_by_content(train, {"train": 1 - fraction, "validation": fraction}, seed, purpose="validation")
    return splits["train"], splits["validation"]


def describe_data(arguments: DataArguments, splits: Splits) -> dict[str, Any]:
    """What the results say of the data: where they are from, how many, how divided, and the seed that made them."""
    description: dict[str, Any] = {
        "source": hub_name_or_path(arguments.dataset),
        "split": "test",
        "num_train": len(splits.train) if isinstance(splits.train, Dataset) else None,
        "num_validation": 0 if splits.validation is None else len(splits.validation),
        "num_test": len(splits.test),
        "duplicates": splits.duplicates,
        # Without it all of them are tested on, as are fewer than it.
        "max_test_samples": None if splits.drawn is None else len(splits.drawn),
        "split_seed": arguments.split_seed,
        **{name: getattr(arguments, name) for name in READING},
    }
    if arguments.test_dataset is not None:
        description.update(test_source=hub_name_or_path(arguments.test_dataset), split="all")
    if arguments.split_fractions is not None:
        description.update(split_fractions=arguments.split_fractions)
    simulation = Path(arguments.dataset) / "simulation.yaml"
    if simulation.is_file():
        record = yaml.safe_load(simulation.read_text(encoding="utf-8"))
        description.update(preset=record["preset"], preset_is_changed=not is_preset(record), seed=record["seed"])
    return description


def list_test_files(arguments: DataArguments, task: Task, drawn: np.ndarray | None) -> list[str] | None:
    """The files of the images to test on, in their order, where they have files of their own.

    Args:
        arguments: Which images they are.
        task: What for.
        drawn: `Splits.drawn`.
    """
    if arguments.test_dataset is not None:
        files = _list_files(arguments, "all", task, arguments.test_dataset)
    else:
        files = _list_files(arguments, "test", task, arguments.dataset)
    return files if files is None or drawn is None else [files[row] for row in drawn]


def name_training_images(arguments: DataArguments, task: Task, train: Dataset, rows: Sequence[int]) -> list[str]:
    """The files of some rows of the training set, or what rows of the dataset they are."""
    everything = _load(arguments, "train", task)
    row_of = {content: row for row, content in enumerate(content_hashes(everything))}
    found = [row_of[content] for content in content_hashes(train.select(rows))]
    files = _list_files(arguments, "train", task, arguments.dataset)
    return [f"row {row} of {arguments.dataset}" if files is None else files[row] for row in found]


def _load(
    arguments: DataArguments, split: str, task: Task, source: str | None = None, *, streaming: bool = False
) -> Any:
    load: Any = load_lensing_dataset  # which gives a stream or not
    return load(
        source or arguments.dataset,
        split=split,
        task=task,
        on_error=arguments.on_error,
        nan_fill=arguments.nan_fill,
        layout=make_fits_layout(arguments.fits_layout),
        split_fractions=arguments.split_fractions,
        split_seed=arguments.split_seed,
        num_workers=arguments.num_workers,
        streaming=streaming,
    )


def _list_files(arguments: DataArguments, split: str, task: Task, source: str) -> list[str] | None:
    # Rows of a division, and what is left when images are skipped, are not those of the files in order.
    divided = arguments.split_fractions is not None and split in arguments.split_fractions
    if divided or arguments.on_error == "skip":
        return None
    return files_of_rows(source, split=split, task=task, layout=make_fits_layout(arguments.fits_layout))


def _draw(count: int | None, dataset: Dataset, seed: int) -> np.ndarray | None:
    return None if count is None or count >= len(dataset) else draw_rows(len(dataset), count, seed)


def hub_name_or_path(name_or_path: str | None) -> str | None:
    """A name on the Hub as it is; a folder by its whole path, which cannot be taken for a name on the Hub."""
    if name_or_path is not None and Path(name_or_path).exists():
        return str(Path(name_or_path).resolve())
    return name_or_path
