import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score

from lens_transformers.evaluation import RepresentationMetric, nearest_neighbours


def _clusters(count, distance=2.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return rng.standard_normal((count, 8)) + distance * np.eye(3, 8)[labels], labels


def test_scores_are_those_of_their_definitions():
    train, train_labels = _clusters(120)
    test, test_labels = _clusters(60, seed=1)
    scores = RepresentationMetric(train, train_labels).compute(predictions=test, references=test_labels)
    distances = np.linalg.norm(test[:, None] - train, axis=2)
    votes = [np.bincount(train_labels[row.argsort()[:20]], minlength=3).argmax() for row in distances]
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    probe = LogisticRegression(max_iter=1000).fit((train - mean) / deviation, train_labels)
    expected = {
        "knn_accuracy": np.mean(votes == test_labels),
        "linear_probe_accuracy": probe.score((test - mean) / deviation, test_labels),
        "silhouette": silhouette_score(test, test_labels),
    }
    intervals = scores.pop("intervals")
    assert scores == pytest.approx(expected, abs=1e-12)
    assert all(intervals[name][0] < value < intervals[name][1] for name, value in scores.items())


def test_embeddings_that_know_nothing_are_near_chance():
    test, labels = _clusters(150, distance=0.0, seed=1)
    scores = RepresentationMetric(*_clusters(300, distance=0.0)).compute(predictions=test, references=labels)
    assert 0.2 < scores["knn_accuracy"] < 0.47 and 0.2 < scores["linear_probe_accuracy"] < 0.47
    assert abs(scores["silhouette"]) < 0.05


def test_batches_of_tensors_add_up_to_the_whole():
    test, labels = _clusters(60, seed=1)
    whole, parts = (RepresentationMetric(*_clusters(120)) for _ in range(2))
    for part in (slice(0, 32), slice(32, 60)):
        parts.add_batch(predictions=torch.from_numpy(test[part]), references=torch.from_numpy(labels[part]))
    assert parts.compute() == whole.compute(predictions=test, references=labels)


@pytest.mark.parametrize("features", [2, 40])  # scikit-learn searches trees or all pairs
def test_the_nearest_are_found_in_order_and_an_image_finds_itself_first(features):
    embeddings = np.random.default_rng(0).standard_normal((50, features))
    distances, rows = nearest_neighbours(embeddings, torch.from_numpy(embeddings[7:9]), 5)
    all_distances = np.linalg.norm(embeddings[7:9, None] - embeddings, axis=2)
    np.testing.assert_array_equal(rows, all_distances.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(all_distances, axis=1)[:, :5], atol=1e-6)
    assert rows[:, 0].tolist() == [7, 8]


def test_half_precision_embeddings_are_searched():
    embeddings = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    for half in (embeddings.half(), embeddings.bfloat16()):
        assert nearest_neighbours(half, half, 1)[1][:, 0].tolist() == list(range(20))


def test_wrong_input_is_refused():
    train, labels = _clusters(30)
    with pytest.raises(ValueError, match="num_neighbours must be from 1 to 30, the images to search, got 31"):
        nearest_neighbours(train, train, 31)
    with pytest.raises(ValueError, match="to search have 8 features, those to find 7"):
        nearest_neighbours(train, train[:, 1:], 1)
    with pytest.raises(ValueError, match=r"queries must be \(images, features\), got an array \(8,\)"):
        nearest_neighbours(train, train[0], 1)
    with pytest.raises(ValueError, match=r"train_labels must be class ids, one for each of 30 images, got .* \(29,\)"):
        RepresentationMetric(train, labels[1:])
    with pytest.raises(ValueError, match="train_labels have images of one class alone"):
        RepresentationMetric(train, labels * 0)
    with pytest.raises(ValueError, match="num_neighbours must be from 1 to 30, the images to search, got 31"):
        RepresentationMetric(train, labels, num_neighbours=31)
    metric = RepresentationMetric(train, labels)
    with pytest.raises(ValueError, match="references must be class ids"):
        metric.add_batch(predictions=train, references=labels.astype(float))
    with pytest.raises(ValueError, match="to search have 8 features, those to find 7"):
        metric.add_batch(predictions=train[:, 1:], references=labels)
    with pytest.raises(ValueError, match="references must have at least two classes"):
        metric.compute(predictions=train, references=labels * 0)
    train[[3, 5], 1] = np.nan
    with pytest.raises(
        ValueError, match="embeddings: 2 of 30 rows have a feature that is NaN or infinite, first row 3"
    ):
        nearest_neighbours(train, train, 1)
