import numpy as np
import pytest

from lens_transformers.data import LABEL_NAMES, lens_features
from lens_transformers.data.schema import dataset_from_chunks


def test_columns_come_in_the_order_image_target_label_parameters():
    features = lens_features((1, 4, 4), target_shape=(1, 8, 8), parameters={"einstein_radius_arcsec": "float64"})
    assert list(features) == ["image", "target", "label", "einstein_radius_arcsec"]
    assert features["image"].shape == (1, 4, 4) and features["target"].shape == (1, 8, 8)
    assert tuple(features["label"].names) == LABEL_NAMES == ("no_sub", "cdm", "axion")


def test_columns_that_a_source_lacks_are_left_out():
    assert list(lens_features((3, 4, 4), label=False)) == ["image"]


def test_a_shape_without_bands_is_refused():
    with pytest.raises(ValueError, match=r"image_shape must be \(bands, height, width\), got \(64, 64\)"):
        lens_features((64, 64))


def test_chunks_join_to_float32_arrays_bit_for_bit():
    images = np.random.default_rng(0).standard_normal((5, 2, 3, 4)).astype(np.float32)
    chunks = [
        {"label": np.array([2, 0]), "image": images[:2]},
        {"image": images[2:], "label": np.array([1, 1, 1])},
    ]
    dataset = dataset_from_chunks(chunks, lens_features((2, 3, 4)))
    assert dataset[1]["image"].dtype == np.float32
    np.testing.assert_array_equal(dataset["image"][:], images)
    assert dataset["label"][:].tolist() == [2, 0, 1, 1, 1]
