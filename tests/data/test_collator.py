import re

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from lens_transformers import LensMAEImageProcessor
from lens_transformers.data import EpochCallback, LensAugmentation, LensDataCollator, get_augmentation, lens_features
from lens_transformers.data.collator import EPOCH
from lens_transformers.data.schema import dataset_from_chunks


def _processor(images, return_tensors):
    assert return_tensors == "pt"
    return {"pixel_values": torch.stack([torch.as_tensor(image) for image in images]) * 2}


def _dataset(count=6, size=4, shape=None):
    rng = np.random.default_rng(0)
    columns = {
        "image": rng.random((count, *(shape or (1, size, size))), dtype=np.float32),
        "target": rng.random((count, 1, 2 * size, 2 * size), dtype=np.float32),
        "label": np.arange(count) % 3,
    }
    features = lens_features(columns["image"].shape[1:], target_shape=columns["target"].shape[1:])
    return dataset_from_chunks([columns], features)


def _rows(dataset):
    return [dataset[i] for i in range(len(dataset))]


@pytest.mark.parametrize("row_format", ["numpy", "torch"])
def test_classification_gives_processed_images_and_class_ids(row_format):
    dataset = _dataset()
    batch = LensDataCollator(_processor, "classification")(_rows(dataset.with_format(row_format)))
    assert set(batch) == {"pixel_values", "labels"}
    np.testing.assert_array_equal(batch["pixel_values"].numpy(), 2 * dataset["image"][:])
    assert batch["labels"].dtype == torch.int64 and batch["labels"].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("row_format", ["numpy", "torch"])
def test_super_resolution_gives_targets_untouched_in_float32(row_format):
    dataset = _dataset()
    batch = LensDataCollator(_processor, "super_resolution")(_rows(dataset.with_format(row_format)))
    assert batch["labels"].dtype == torch.float32
    np.testing.assert_array_equal(batch["labels"].numpy(), dataset["target"][:])


def test_pretraining_gives_pixel_values_alone():
    assert set(LensDataCollator(_processor, "pretraining")(_rows(_dataset()))) == {"pixel_values"}


def test_pretraining_turns_an_imprint_as_its_image_and_scales_it_alike():
    rows = [{"image": row["image"], "imprint": 3 * row["image"]} for row in _rows(_dataset())]
    batch = LensDataCollator(_processor, "pretraining", "dihedral", seed=1)(rows)
    assert not torch.equal(batch["pixel_values"], LensDataCollator(_processor, "pretraining")(rows)["pixel_values"])
    torch.testing.assert_close(batch["imprint"], 3 * batch["pixel_values"])


def _symmetries(image, augmentation):
    turns = [torch.rot90(image, k, (-2, -1)) for k in range(4)]
    if augmentation == "half_turn":
        return [turns[0], turns[2]]
    return turns + [turn.flip(-1) for turn in turns]


@pytest.mark.parametrize(("augmentation", "count"), [("half_turn", 2), ("dihedral", 8)])
def test_every_symmetry_is_drawn_and_no_other(augmentation, count):
    dataset = _dataset(1)
    collator = LensDataCollator(_processor, "pretraining", augmentation)
    drawn = set()
    for epoch in range(100):
        collator.set_epoch(epoch)
        drawn.add(collator(_rows(dataset))["pixel_values"].numpy().tobytes())
    image = 2 * torch.from_numpy(dataset[0]["image"])
    assert drawn == {each.contiguous().numpy().tobytes() for each in _symmetries(image, augmentation)}
    assert len(drawn) == count


@pytest.mark.parametrize("augmentation", ["half_turn", "dihedral"])
def test_image_and_target_are_turned_alike(augmentation):
    dataset = _dataset(8)
    # Each target is its image twice as large, so that they stay so only if both are turned alike.
    rows = [{**row, "target": row["image"].repeat(2, axis=1).repeat(2, axis=2)} for row in _rows(dataset)]
    batch = LensDataCollator(_processor, "super_resolution", augmentation)(rows)
    enlarged = torch.nn.functional.interpolate(batch["pixel_values"] / 2, scale_factor=2, mode="nearest")
    torch.testing.assert_close(enlarged, batch["labels"], rtol=0, atol=0)
    assert not torch.equal(batch["pixel_values"] / 2, torch.from_numpy(dataset["image"][:]))


def test_a_row_changes_alike_in_any_batch_and_torchs_state_has_no_part_in_it():
    rows = _rows(_dataset(16))
    collator = LensDataCollator(_processor, "pretraining", "continuous", seed=3)
    whole = collator(rows)["pixel_values"]
    torch.manual_seed(1)
    assert torch.equal(torch.cat([collator([row])["pixel_values"] for row in rows[::-1]]).flip(0), whole)
    assert not torch.equal(
        LensDataCollator(_processor, "pretraining", "continuous", seed=4)(rows)["pixel_values"], whole
    )


class _Network(torch.nn.Module):
    """Remembers what it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, pixel_values):
        self.seen += [image.numpy().tobytes() for image in pixel_values]
        return {"loss": self.weight * pixel_values.mean()}


_NOISE = LensAugmentation("none", noise_std=0.1)


def _train(dataset, folder, resume=None, **options):
    network, collator = _Network(), LensDataCollator(_processor, "pretraining", _NOISE, seed=5)
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=2,
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    trainer = Trainer(network, arguments, collator, train_dataset=dataset, callbacks=[EpochCallback(collator)])
    trainer.train(resume_from_checkpoint=resume)
    return network.seen


@pytest.mark.parametrize("streaming", [False, True])
def test_under_trainer_every_epoch_draws_anew(streaming, tmp_path):
    dataset = _dataset(6)
    seen = _train(dataset.to_iterable_dataset() if streaming else dataset, tmp_path, max_steps=9)
    assert len(seen) == len(set(seen)) == 18
    collator = LensDataCollator(_processor, "pretraining", _NOISE, seed=5)
    for epoch in range(3):
        collator.set_epoch(epoch)
        expected = {image.numpy().tobytes() for image in collator(_rows(dataset))["pixel_values"]}
        assert set(seen[6 * epoch : 6 * epoch + 6]) == expected


def test_under_trainer_a_resumed_epoch_draws_what_it_would_have(tmp_path):
    dataset = _dataset(6)
    whole = _train(dataset, tmp_path, max_steps=9, save_steps=4, save_strategy="steps")
    assert _train(dataset, tmp_path, tmp_path / "checkpoint-4", max_steps=9) == whole[8:]


def test_rows_keep_their_pixels():
    dataset = _dataset()
    rows, before = _rows(dataset), dataset["image"][:].copy()
    LensDataCollator(_processor, "pretraining", "dihedral")(rows)
    np.testing.assert_array_equal(np.stack([row["image"] for row in rows]), before)


def test_a_quarter_turn_of_an_oblong_image_is_refused():
    with pytest.raises(ValueError, match=r"'dihedral' turns square images only, got shape \(1, 4, 6\)"):
        LensDataCollator(_processor, "pretraining", "dihedral")(_rows(_dataset(shape=(1, 4, 6))))


def test_a_named_augmentation_can_be_changed():
    assert get_augmentation("continuous", max_psf_fwhm=2.0) == LensAugmentation(
        "dihedral", rotate=True, max_shift=0.5, max_psf_fwhm=2.0
    )


def test_wrong_arguments_and_rows_are_named():
    with pytest.raises(ValueError, match="task must be one of .*, got 'sr'"):
        LensDataCollator(_processor, "sr")
    with pytest.raises(
        ValueError, match="augmentation must be one of none, half_turn, dihedral, continuous, got 'flip'"
    ):
        LensDataCollator(_processor, "pretraining", "flip")
    with pytest.raises(ValueError, match="noise_std must be a flux, at least 0, or one a band, got -1"):
        get_augmentation("continuous", noise_std=-1)
    rows = _rows(_dataset().remove_columns("label"))
    with pytest.raises(ValueError, match="needs a column 'label'; the rows have image, target"):
        LensDataCollator(_processor, "classification")(rows)
    with pytest.raises(ValueError, match="rows have target.*Trainer .* remove_unused_columns=False"):
        LensDataCollator(_processor, "pretraining")(_rows(_dataset().select_columns("target")))


def test_images_of_many_sizes_become_one_where_the_image_processor_resizes():
    rows = [{"image": np.full((1, side, side), 0.5, np.float32)} for side in (8, 4)]
    resizing = LensMAEImageProcessor(normalization="none", do_resize=True, size={"height": 4, "width": 4})
    assert LensDataCollator(resizing, "pretraining")(rows)["pixel_values"].shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"'image' holds arrays of the shapes \(1, 4, 4\), \(1, 8, 8\)"):
        LensDataCollator(resizing, "pretraining", "dihedral")(rows)


@pytest.mark.parametrize("columns", [("image",), ("image", "imprint")])
def test_images_without_an_axis_of_bands_are_images_of_one_band(columns):
    rng = np.random.default_rng(0)
    rows = [{column: rng.random((8, 8), dtype=np.float32) for column in columns} for _ in range(4)]
    batch = LensDataCollator(_processor, "pretraining")(rows)
    assert all(part.shape == (4, 1, 8, 8) for part in batch.values())
    np.testing.assert_array_equal(batch["pixel_values"][:, 0].numpy(), 2 * np.stack([row["image"] for row in rows]))


@pytest.mark.parametrize("shape", [(8,), (1, 1, 8, 8)])
def test_an_array_that_is_no_image_is_refused(shape):
    rows = [{"image": np.zeros((1, 8, 8)), "target": np.zeros(shape)}]
    with pytest.raises(ValueError, match=rf"'target' holds an array of the shape {re.escape(str(shape))}: give"):
        LensDataCollator(_processor, "super_resolution")(rows)


def test_an_imprint_is_not_scaled_by_its_own_extremes():
    rows = [{"image": row["image"], "imprint": row["image"]} for row in _rows(_dataset())]
    collator = LensDataCollator(LensMAEImageProcessor(normalization="min_max"), "pretraining")
    with pytest.raises(ValueError, match="imprint cannot be scaled as its image by normalization min_max"):
        collator(rows)
    assert set(collator(_rows(_dataset()))) == {"pixel_values"}


def test_a_row_of_a_stream_draws_by_its_own_pass():
    image = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    collator = LensDataCollator(LensMAEImageProcessor(normalization="none"), "pretraining", "dihedral")
    together = collator([{"image": image, EPOCH: epoch} for epoch in range(6)])["pixel_values"]
    for epoch in range(6):
        collator.set_epoch(epoch)
        assert torch.equal(collator([{"image": image}])["pixel_values"][0], together[epoch])
