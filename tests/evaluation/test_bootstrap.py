import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lens_transformers.evaluation import bootstrap
from lens_transformers.evaluation.bootstrap import average_with_intervals, compute_with_intervals, rank_once


def test_a_95_percent_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(300):
        values = rng.exponential(size=100)
        low, high = average_with_intervals({"mean": values}, 0.95, seed)["intervals"]["mean"]
        covered.append(low < 1.0 < high)
    assert 0.90 < np.mean(covered) < 0.98


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).standard_normal(2000)
    result = average_with_intervals({"mean": values})
    low, high = result["intervals"]["mean"]
    assert result["mean"] == pytest.approx(values.mean(), abs=1e-15)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 2000**0.5, rel=0.1)


def test_intervals_depend_on_the_seed_and_not_on_how_many_resamples_are_looked_at_together(monkeypatch):
    values = np.random.default_rng(0).random(50)
    first, again, other = (average_with_intervals({"mean": values}, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 7 * 50)
    assert average_with_intervals({"mean": values})["intervals"]["mean"] == pytest.approx(
        first["intervals"]["mean"], rel=1e-14
    )


def test_many_images_are_looked_at_in_few_resamples_at_once(monkeypatch):
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 10)
    shapes = [weights.shape for weights in bootstrap.draw_weights(40_000, seed=0)]
    assert shapes == [(40_000, 3)] * 3 + [(40_000, 1)]


def test_areas_are_those_of_scikit_learns_weighted_images_ties_included():
    rng = np.random.default_rng(0)
    scores, is_positive = rng.integers(20, size=150), rng.random(150) < 0.3
    images = rng.integers(60, size=150)
    weights = rng.integers(4, size=(60, 5)).astype(float)
    areas = rank_once(scores, is_positive, images)(weights)
    for area, of_resample in zip(areas, weights.T, strict=True):
        expected = roc_auc_score(is_positive, scores, sample_weight=of_resample[images])
        assert area == pytest.approx(expected, abs=1e-12)


def test_resamples_without_a_number_do_not_count():
    def sometimes(weights):
        return {"odd": np.where(weights[0] == 1, weights[1], np.nan), "never": weights[0] * np.nan}

    intervals = compute_with_intervals(sometimes, 10)["intervals"]
    assert intervals["odd"] == [0.0, 3.0]
    assert np.isnan(intervals["never"]).all()


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_confidence_level_that_is_no_share_is_refused(level):
    with pytest.raises(ValueError, match=f"confidence_level must be between 0 and 1, such as 0.95, got {level}"):
        average_with_intervals({"mean": np.ones(3)}, level)
