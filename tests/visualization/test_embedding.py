import numpy as np
import pytest
import torch

from lens_transformers.visualization import plot_embedding


NAMES = ["no_sub", "cdm", "axion"]
LABELS = np.arange(60) % 3
# Three groups, far apart along one direction of eight.
VECTORS = np.random.default_rng(0).normal(size=(60, 8)) + 20 * LABELS[:, None] * np.eye(8)[0]


@pytest.mark.parametrize(("method", "axis"), [("pca", "component 1"), ("tsne", "t-SNE 1")])
def test_each_image_is_a_point_in_the_colour_of_its_class(method, axis):
    ax = plot_embedding(VECTORS, LABELS, NAMES, method=method).axes[0]
    assert ax.get_xlabel().startswith(axis)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == NAMES
    points = ax.collections[0]
    assert points.get_offsets().shape == (60, 2)
    assert len(np.unique(points.get_facecolors(), axis=0)) == 3


def test_principal_components_say_how_much_they_explain_and_keep_groups_apart():
    stretched = VECTORS * np.array([1] + [0] * 7)
    ax = plot_embedding(stretched, LABELS, NAMES).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("component 1 (100%)", "component 2 (0%)")
    first = np.sort(np.asarray(ax.collections[0].get_offsets())[:, 0])
    assert np.diff(first)[[19, 39]].min() > 3 * np.median(np.diff(first))


def test_more_classes_than_the_palette_has_differ_in_colour():
    figure = plot_embedding(np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 8, tuple("abcdefgh"))
    colours = {tuple(handle.get_facecolor()[0]) for handle in figure.axes[0].get_legend().legend_handles}
    assert len(colours) == 8


def test_a_networks_own_vectors_are_drawn():
    vectors = torch.from_numpy(VECTORS).bfloat16().requires_grad_()
    assert len(plot_embedding(vectors, torch.from_numpy(LABELS), NAMES).axes[0].collections[0].get_offsets()) == 60


def test_without_labels_there_is_no_legend():
    assert plot_embedding(VECTORS).axes[0].get_legend() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((VECTORS[:2],), "at least three and finite"),
        ((VECTORS * np.nan,), "at least three and finite"),
        ((VECTORS, LABELS[:5], NAMES), "labels must be one id a vector"),
        ((VECTORS, LABELS + 1, NAMES), "labels must be one id a vector, 0 to 2"),
    ],
)
def test_what_is_no_embedding_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot_embedding(*arguments)


def test_a_method_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="'pca' or 'tsne', got 'umap'"):
        plot_embedding(VECTORS, method="umap")
