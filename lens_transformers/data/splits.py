"""Splits made of a set that has none, by a hash of every image's pixels; and images that are in more than one."""

import hashlib
import logging
import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from numbers import Real

import numpy as np
from datasets import Dataset, DatasetDict

from .folders import SPLITS
from .schema import LABEL_NAMES


__all__ = [
    "check_division",
    "class_counts",
    "content_hashes",
    "count_duplicates",
    "find_duplicates",
    "split_by_content",
]

logger = logging.getLogger(__name__)

_NUM_NAMED = 3
_FAR_OFF = 0.25


def content_hashes(dataset: Dataset) -> list[bytes]:
    """Hashes every image's float32 pixels: the same for the same image, whatever file it came from.

    Args:
        dataset: Rows with `image`.

    Returns:
        16 bytes a row.
    """
    hashes = []
    for batch in dataset.select_columns("image").with_format("numpy").iter(256):
        for image in batch["image"]:
            hashes.append(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest())
    return hashes


def split_by_content(
    dataset: Dataset, fractions: Mapping[str, float], seed: int = 0, *, purpose: str = ""
) -> DatasetDict:
    """Divides a dataset by seed, so that an image stays in its split whatever is added, removed or renamed.

    Every image draws a number from its pixels and the seed, and the number decides; the order of rows and the other
    images do not matter, and copies of one image are never divided. Each class has its fractions up to chance: of
    1,000 images and a tenth, 100 ± 10. Counts that are exact whatever is added, and images that never move, cannot be
    had together: an image that moves from the train to the test split has been trained on, a count that is off by a
    few harms nobody. What is off by more than a quarter is warned of.

    Args:
        dataset: Rows with `image`, and `label` where there are classes.
        fractions: Share of each split, in order; they sum to one.
        seed: Draws another division.
        purpose: A word, of 16 bytes at the most, whose divisions have nothing to do with those of others: what is part
            of a division can only be divided once more under another one.

    Returns:
        The splits, each in the dataset's order.

    Raises:
        ValueError: If the fractions do not sum to one, the seed is no whole number, or a split or one of its classes
            stays empty.
    """
    check_division(fractions, seed)
    key, person = operator.index(seed).to_bytes(16, "little", signed=True), purpose.encode()
    drawn = np.array(
        [
            int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key, person=person).digest(), "little") / 2**64
            for content in content_hashes(dataset)
        ]
    )
    edges = np.cumsum(list(fractions.values()))[:-1]
    of_row = np.searchsorted(edges, drawn, side="right")
    splits = DatasetDict({name: dataset.select(np.flatnonzero(of_row == i)) for i, name in enumerate(fractions)})
    _check_shares(class_counts(dataset), splits, fractions)
    return splits


def check_division(fractions: Mapping[str, float], seed: int) -> None:
    """Checks what `split_by_content` divides by.

    Raises:
        ValueError: If the fractions are none that sum to one, or the seed is no whole number.
    """
    known = [name for name in SPLITS if name != "all"]
    is_known = isinstance(fractions, Mapping) and fractions and set(fractions) <= set(known)
    if not is_known or not all(isinstance(share, Real) and share > 0 for share in fractions.values()):
        raise ValueError(f"fractions must give some of {', '.join(known)} a positive share, got {fractions}.")
    if not math.isclose(sum(fractions.values()), 1):
        raise ValueError(f"fractions must sum to 1, got {dict(fractions)}.")
    if not isinstance(seed, int | np.integer):
        raise ValueError(f"The seed of a division must be a whole number, got {seed!r}.")


def class_counts(dataset: Dataset) -> dict[str, int]:
    """Counts the images of every class; of a dataset without labels, all of them as `"images"`."""
    if "label" not in dataset.features:
        return {"images": len(dataset)}
    labels = np.asarray(dataset.with_format("numpy")["label"][:], dtype=np.int64)
    return dict(zip(LABEL_NAMES, np.bincount(labels, minlength=len(LABEL_NAMES)).tolist(), strict=True))


def _check_shares(total: Mapping[str, int], splits: DatasetDict, fractions: Mapping[str, float]) -> None:
    for split, part in splits.items():
        for name, count in class_counts(part).items():
            expected = fractions[split] * total[name]
            of_class = "" if name == "images" else f" of class {name}"
            if total[name] and not count:
                raise ValueError(
                    f"The {split} split has no image{of_class}: give it a larger fraction or another seed."
                )
            if abs(count - expected) > max(_FAR_OFF * expected, 1):
                logger.warning(
                    "The %s split has %d images%s; its fraction of %d would be %.0f. Another seed may be nearer.",
                    *(split, count, of_class, total[name], expected),
                )


def find_duplicates(datasets: Mapping[str, Dataset]) -> list[tuple[tuple[str, int], ...]]:
    """Finds images that are there more than once, within a split or in several, and warns of them in one line.

    Args:
        datasets: Datasets with `image`, by the name of their split.

    Returns:
        For each such image the places where it is, as pairs (split, row), in order.
    """
    places: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for split, dataset in datasets.items():
        for row, content in enumerate(content_hashes(dataset)):
            places[content].append((split, row))
    duplicates = [tuple(found) for found in places.values() if len(found) > 1]
    if duplicates:
        first = "; ".join(
            " = ".join(f"{split}[{row}]" for split, row in found[:_NUM_NAMED]) for found in duplicates[:_NUM_NAMED]
        )
        logger.warning(
            "Images that are there more than once: %s; first %s.",
            ", ".join(f"{count} in {where}" for where, count in count_duplicates(duplicates).items()),
            first,
        )
    return duplicates


def count_duplicates(duplicates: Iterable[tuple[tuple[str, int], ...]]) -> dict[str, int]:
    """Counts what `find_duplicates` found by the splits that share it, such as `"train and test"`."""
    return dict(Counter(" and ".join(dict.fromkeys(split for split, _ in found)) for found in duplicates))
