import numpy as np
import pytest

from lens_transformers.evaluation import pca_logistic_rows


def _faint_spot(count, brightness, seed):
    """Four bright pixels of random flux in every image, and a faint one where the class says."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = 1e-3 * rng.standard_normal((count, 1, 8, 8)).astype(np.float32)
    images[:, 0, 0, :4] += rng.random((count, 4))
    images[np.arange(count), 0, 4, 2 * labels] += brightness
    return images, labels


def test_a_linear_difference_is_found_on_both_pixels():
    rows = pca_logistic_rows(*_faint_spot(300, 0.5, 0), *_faint_spot(90, 0.5, 1), split="val")
    assert [row["name"] for row in rows] == ["PCA + logistic, raw pixels", "PCA + logistic, arcsinh pixels"]
    assert all(row["accuracy"] == 1.0 and row["split"] == "val" and row["num_train"] == 300 for row in rows)


def test_labels_without_meaning_are_not_predicted():
    (train, labels), (test, test_labels) = _faint_spot(300, 0.5, 0), _faint_spot(90, 0.5, 1)
    shuffled = np.random.default_rng(2).permutation(labels)
    assert all(row["accuracy"] < 0.6 for row in pca_logistic_rows(train, shuffled, test, test_labels))


def test_the_stretch_brings_out_what_few_components_cannot_see_in_raw_pixels():
    raw, stretched = pca_logistic_rows(
        *_faint_spot(300, 0.05, 0), *_faint_spot(90, 0.05, 1), num_components=2, stretch=1e-3
    )
    assert stretched["auc_macro"] > raw["auc_macro"] + 0.05


def test_the_stretch_is_relative_to_the_brightness_of_the_training_images():
    (train, labels), (test, test_labels) = _faint_spot(300, 0.05, 0), _faint_spot(90, 0.05, 1)
    _, once = pca_logistic_rows(train, labels, test, test_labels, num_components=2)
    _, in_counts = pca_logistic_rows(4096 * train, labels, 4096 * test, test_labels, num_components=2)
    assert once["accuracy"] == in_counts["accuracy"] and once["auc_macro"] == pytest.approx(in_counts["auc_macro"])


def test_max_train_draws_by_seed():
    train, test = _faint_spot(300, 0.02, 0), _faint_spot(90, 0.02, 1)
    first, again, other = (pca_logistic_rows(*train, *test, max_train=60, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [row["num_train"] for row in first] == [60, 60]


def test_wrong_input_is_refused():
    images, labels = _faint_spot(30, 0.5, 0)
    with pytest.raises(ValueError, match="must have the same bands, height and width"):
        pca_logistic_rows(images, labels, images[..., :4], labels)
    with pytest.raises(ValueError, match="train_labels have no image of class axion"):
        pca_logistic_rows(images[labels < 2], labels[labels < 2], images, labels)
