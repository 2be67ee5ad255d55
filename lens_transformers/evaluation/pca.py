"""PCA and logistic regression on pixels: the linear rows beside every classification result.

On sets whose main lens never changes these rows are high, because a linear model reads the class off the total mass;
on honest sets they are near chance. A network's accuracy says little without them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..data.images import median_peak
from ..data.schema import LABEL_NAMES
from .classification import ClassificationMetric


__all__ = ["missing_classes", "pca_logistic_rows"]


# Of the brightest pixel: where the default stretch turns from linear to logarithmic.
PEAK_FRACTION = 0.02


def pca_logistic_rows(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    split: str = "test",
    class_names: Sequence[str] = LABEL_NAMES,
    num_components: int = 100,
    stretch: float | None = None,
    max_train: int | None = None,
    seed: int = 0,
) -> list[dict]:
    """Fits PCA + standardisation + logistic regression on training pixels and scores it on test images.

    Args:
        train_images: `(batch, bands, height, width)`.
        train_labels: Class ids `(batch,)`.
        test_images: `(batch, bands, height, width)`.
        test_labels: Class ids `(batch,)`.
        split: Name of the test images' split, for the rows.
        class_names: Names of the classes in the order of their ids.
        num_components: Principal components kept; fewer where there are fewer images or pixels.
        stretch: Brightness a of the stretch arcsinh(x/a), in the images' own unit; by default a fiftieth of how bright
            the brightest pixel of a training image is, the median of all.
        max_train: Fit on at most so many training images, drawn by `seed`.
        seed: Seed of that draw and of the randomised PCA.

    Returns:
        Two rows, on pixels as given and on arcsinh-stretched ones, with the metrics of `ClassificationMetric` and the
        number of training images.

    Raises:
        ValueError: If the training images lack a class or the arrays do not fit each other.
    """
    train_images, train_labels = np.asarray(train_images), np.asarray(train_labels)
    test_images, test_labels = np.asarray(test_images), np.asarray(test_labels)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"train_images {train_images.shape} and test_images {test_images.shape} must have the same bands, height "
            "and width."
        )
    if max_train is not None and max_train < len(train_images):
        drawn = np.random.default_rng(seed).choice(len(train_images), max_train, replace=False)
        train_images, train_labels = train_images[drawn], train_labels[drawn]
    if missing := missing_classes(train_labels, class_names):
        raise ValueError(f"train_labels have no image of class {', '.join(missing)}.")

    if stretch is None:
        stretch = PEAK_FRACTION * (median_peak(train_images) or 1.0)
    pixels: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "PCA + logistic, raw pixels": _flat,
        "PCA + logistic, arcsinh pixels": lambda images: np.arcsinh(_flat(images) / stretch),
    }
    rows = []
    for name, features_of in pixels.items():
        train = features_of(train_images)
        model = _fit(train, train_labels, min(num_components, *train.shape), seed)
        metric = ClassificationMetric(class_names)
        metrics = metric.compute(predictions=model.predict_proba(features_of(test_images)), references=test_labels)
        rows.append({"name": name, "split": split, "num_train": len(train), **metrics})
    return rows


def missing_classes(labels: np.ndarray, class_names: Sequence[str] = LABEL_NAMES) -> list[str]:
    """The names of classes that no label is of, without which linear models cannot be fitted."""
    return [name for index, name in enumerate(class_names) if index not in labels]


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32, copy=False)


def _fit(pixels: np.ndarray, labels: np.ndarray, num_components: int, seed: int) -> Pipeline:
    model = make_pipeline(
        PCA(num_components, svd_solver="randomized", iterated_power=4, random_state=seed),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    return model.fit(pixels, labels)
