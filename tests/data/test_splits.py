import logging
import re

import numpy as np
import pytest

from lens_transformers.data import (
    LoadReport,
    find_duplicates,
    lens_features,
    load_lensing_dataset,
    split_by_content,
)
from lens_transformers.data.schema import dataset_from_chunks
from lens_transformers.data.splits import class_counts


FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def _dataset(seeds, label=True):
    images = np.stack([np.random.default_rng(seed).random((1, 4, 4), dtype=np.float32) for seed in seeds])
    columns = {"image": images} | ({"label": np.asarray(seeds) % 3} if label else {})
    return dataset_from_chunks([columns], lens_features((1, 4, 4), label=label))


def _where(splits):
    return {image.tobytes(): name for name, part in splits.items() for image in part["image"][:]}


def test_every_image_goes_to_one_split_by_its_share_in_every_class():
    dataset = _dataset(range(3000))
    splits = split_by_content(dataset, FRACTIONS)
    assert sum(len(part) for part in splits.values()) == len(_where(splits)) == 3000
    for name, share in FRACTIONS.items():
        counts = np.bincount(splits[name]["label"][:], minlength=3)
        deviation = np.sqrt(1000 * share * (1 - share))
        assert (abs(counts - 1000 * share) < 4 * deviation).all(), (name, counts)


def test_an_image_stays_in_its_split_when_others_come_go_or_change_places():
    before = _where(split_by_content(_dataset(range(300)), FRACTIONS))
    after = _where(split_by_content(_dataset([*range(1000, 1200), *range(299, 50, -1)]), FRACTIONS))
    kept = before.keys() & after.keys()
    assert len(kept) == 249 and all(before[image] == after[image] for image in kept)


def test_another_seed_divides_otherwise():
    dataset = _dataset(range(300))
    divisions = [_where(split_by_content(dataset, FRACTIONS, seed)) for seed in (0, 0, 1, -1)]
    assert divisions[0] == divisions[1] != divisions[2] != divisions[3]


def test_a_part_of_a_division_can_be_divided_again_for_another_purpose():
    train = split_by_content(_dataset(range(3000)), {"train": 0.8, "test": 0.2})["train"]
    for seed in (0, 1):
        counts = class_counts(split_by_content(train, FRACTIONS, seed, purpose="validation")["test"])
        assert all(120 < count < 200 for count in counts.values()), counts


def test_the_images_of_every_class_are_counted_and_a_share_that_is_far_off_is_warned_of(caplog):
    dataset, halves = _dataset(range(60)), {"train": 0.5, "test": 0.5}
    counts, warned = [], []
    for seed in range(20):
        caplog.clear()
        splits = split_by_content(dataset, halves, seed)
        counts.append(class_counts(splits["test"]))
        warned.append(any("test split has" in message for message in caplog.messages))
        for message in caplog.messages:
            assert re.fullmatch(
                r"The (train|test) split has \d+ images of class (no_sub|cdm|axion); its fraction of 20 would be 10. "
                "Another seed may be nearer.",
                message,
            )
    # A quarter of the ten that each class has by its fraction.
    assert warned == [any(abs(number - 10) > 2.5 for number in count.values()) for count in counts]
    assert set(warned) == {True, False}


def test_copies_of_one_image_are_never_divided():
    splits = split_by_content(_dataset([*range(100), *range(100)]), {"train": 0.5, "test": 0.5})
    assert not find_duplicates({name: part.select([]) for name, part in splits.items()})
    assert all({split for split, _ in places} in ({"train"}, {"test"}) for places in find_duplicates(splits))


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({}, "fractions must give some of train, validation, test a positive share"),
        ({"train": 0.5, "dev": 0.5}, "fractions must give some of train, validation, test"),
        ({"train": 1.2, "test": -0.2}, "positive share"),
        ({"train": 0.5, "test": 0.4}, "fractions must sum to 1"),
        ([0.5, 0.5], r"a positive share, got \[0.5, 0.5\]"),
        ({"train": "0.5", "test": 0.5}, "a positive share"),
        ({"train": 0.999, "test": 0.001}, "The test split has no image of class no_sub"),
    ],
)
def test_fractions_that_do_not_divide_are_refused(fractions, message):
    with pytest.raises(ValueError, match=message):
        split_by_content(_dataset(range(30)), fractions)


def test_the_loader_divides_a_set_that_is_not_divided(tmp_path):
    for index in range(60):
        np.save(tmp_path / f"{index}.npy", np.random.default_rng(index).random((4, 4)))

    def load(split):
        return load_lensing_dataset(tmp_path, split, task="pretraining", split_fractions=FRACTIONS, split_seed=1)

    parts = {split: load(split) for split in FRACTIONS}
    assert len(_where(parts)) == 60 and not find_duplicates(parts)
    report = LoadReport()
    load_lensing_dataset(tmp_path, "test", task="pretraining", split_fractions=FRACTIONS, split_seed=1, report=report)
    assert report.divided == {split: {"images": len(part)} for split, part in parts.items()}
    assert report.num_rows == len(parts["test"]) and f"divided: test: {len(parts['test'])} images" in str(report)
    before = _where(parts)
    np.save(tmp_path / "-1.npy", np.random.default_rng(99).random((4, 4)))
    after = _where({split: load(split) for split in FRACTIONS})
    assert len(after) == 61 and all(after[image] == split for image, split in before.items())


def test_duplicates_within_and_across_splits_are_found_and_reported(caplog):
    with caplog.at_level(logging.WARNING, logger="lens_transformers"):
        found = find_duplicates({"train": _dataset([1, 2, 3, 1]), "test": _dataset([9, 3])})
    assert found == [(("train", 0), ("train", 3)), (("train", 2), ("test", 1))]
    assert caplog.messages == [
        "Images that are there more than once: 1 in train, 1 in train and test; "
        "first train[0] = train[3]; train[2] = test[1]."
    ]


def test_the_same_pixels_from_another_format_are_a_duplicate(tmp_path):
    image = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    for split, dtype in (("train", np.float64), ("test", np.float32)):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "a.npy", image.astype(dtype))
    parts = {name: load_lensing_dataset(tmp_path, name, task="pretraining") for name in ("train", "test")}
    assert find_duplicates(parts) == [(("train", 0), ("test", 0))]
