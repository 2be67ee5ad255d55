"""The figure of an embedding: one point an image, near to the images that the network takes for similar."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from ..evaluation.metric import as_array
from .style import axes_for, colours_of, figure_of, frame


def plot_embedding(
    embeddings,
    labels=None,
    class_names: Sequence[str] = (),
    *,
    method: Literal["pca", "tsne"] = "pca",
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """A map of embeddings on two axes, coloured by class.

    Args:
        embeddings: Array (images, width), one vector an image; each component is standardised first.
        labels: Class ids (images,); without them all points have one colour.
        class_names: Names in the order of the ids.
        method: `"pca"`, the two directions that vary most, whose distances mean something; or `"tsne"` (van der Maaten
            and Hinton 2008), in which neighbours stay neighbours and distances between groups mean nothing.
        seed: Seed of the projection.
        ax: Where to draw; a new figure by default.

    Raises:
        ValueError: If there are fewer than three images, a number is not finite, the method is not known, or the
            labels do not fit.
    """
    vectors = as_array("embeddings", embeddings).astype(np.float64)
    if vectors.ndim != 2 or len(vectors) < 3 or not np.isfinite(vectors).all():
        raise ValueError(f"embeddings must be (images, width), at least three and finite, got shape {vectors.shape}.")
    ids = np.zeros(len(vectors), dtype=int) if labels is None else as_array("labels", labels)
    names = tuple(class_names) if labels is not None else ("",)
    if ids.shape != (len(vectors),) or not np.isin(ids, range(len(names))).all():
        raise ValueError(f"labels must be one id a vector, 0 to {len(names) - 1}; got shape {ids.shape}.")
    standardised = StandardScaler().fit_transform(vectors)
    if method == "pca":
        projection = PCA(2, random_state=seed).fit(standardised)
        points = projection.transform(standardised)
        axis_labels = [f"component {axis + 1} ({projection.explained_variance_ratio_[axis]:.0%})" for axis in (0, 1)]
    elif method == "tsne":
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(standardised)
        axis_labels = ["t-SNE 1", "t-SNE 2"]
    else:
        raise ValueError(f"method must be 'pca' or 'tsne', got {method!r}.")

    ax = axes_for(ax, 5.2, 4.8)
    # All classes in one call and in random order: the class that is drawn last would hide the others.
    order = np.random.default_rng(seed).permutation(len(points))
    colours = to_rgba_array(colours_of(len(names)))
    x, y = points[order].T
    ax.scatter(x, y, c=colours[ids[order]], s=9, alpha=0.7, linewidths=0, rasterized=True)
    frame(ax, *axis_labels)
    ax.set_title(f"{len(points):,} images", fontsize=10, loc="left")
    if labels is not None:
        for name, colour in zip(names, colours, strict=True):
            ax.scatter([], [], color=colour, s=24, label=name)
        ax.legend(frameon=False, handletextpad=0.2)
    return figure_of(ax)
