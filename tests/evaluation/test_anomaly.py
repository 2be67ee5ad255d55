import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lens_transformers.evaluation import AnomalyMetric, neighbour_distance
from lens_transformers.evaluation.bootstrap import draw_weights


def _scores(count=450, seed=0):
    rng = np.random.default_rng(seed)
    is_anomaly = rng.random(count) < 0.2
    return rng.standard_normal(count) + is_anomaly, is_anomaly


def _by_definition(scores, is_anomaly):
    highest = np.argsort(-scores, kind="stable")[: int(np.ceil(len(scores) / 100))]
    return {"auc": roc_auc_score(is_anomaly, scores), "precision_at_1_percent": is_anomaly[highest].mean()}


def test_area_and_precision_are_those_of_their_definitions():
    scores, is_anomaly = _scores()
    result = AnomalyMetric().compute(predictions=scores, references=is_anomaly)
    assert result.pop("intervals").keys() == result.keys()
    assert result == pytest.approx(_by_definition(scores, is_anomaly), abs=1e-12)


def test_intervals_are_those_of_computing_each_resample_anew(monkeypatch):
    monkeypatch.setattr("lens_transformers.evaluation.bootstrap.NUM_RESAMPLES", 50)
    scores, is_anomaly = _scores()
    result = AnomalyMetric().compute(predictions=scores, references=is_anomaly, confidence_level=0.8, seed=5)
    resampled = []
    for weights in np.concatenate(list(draw_weights(450, seed=5)), axis=1).T:
        drawn = np.arange(450).repeat(weights.astype(int))
        resampled.append(_by_definition(scores[drawn], is_anomaly[drawn]))
    for name, interval in result["intervals"].items():
        expected = np.quantile([one[name] for one in resampled], [0.1, 0.9])
        assert interval == pytest.approx(expected.tolist(), abs=1e-12)


def test_of_tied_scores_any_may_be_the_highest():
    is_anomaly = np.arange(300) % 4 == 0
    result = AnomalyMetric().compute(predictions=np.zeros(300), references=is_anomaly)
    assert result["auc"] == 0.5
    assert result["precision_at_1_percent"] == pytest.approx(0.25)
    one_ahead = np.zeros(300)
    one_ahead[0] = 1.0
    result = AnomalyMetric().compute(predictions=one_ahead, references=is_anomaly)
    assert result["precision_at_1_percent"] == pytest.approx((1 + 2 * 74 / 299) / 3)


def test_batches_of_tensors_add_up_to_the_whole():
    scores, is_anomaly = _scores()
    metric = AnomalyMetric()
    for part in (slice(0, 300), slice(300, None)):
        metric.add_batch(predictions=torch.from_numpy(scores[part]), references=torch.from_numpy(is_anomaly[part]))
    assert metric.compute() == AnomalyMetric().compute(predictions=scores, references=is_anomaly.astype(int))


@pytest.mark.parametrize(("is_anomaly", "word", "precision"), [(False, "no", 0.0), (True, "every", 1.0)])
def test_images_of_one_kind_alone_have_no_area(is_anomaly, word, precision):
    with pytest.warns(UserWarning, match=f"AUC is undefined: {word} image is an anomaly"):
        result = AnomalyMetric().compute(predictions=np.arange(10), references=np.full(10, is_anomaly))
    assert np.isnan([result["auc"], *result["intervals"]["auc"]]).all()
    assert result["precision_at_1_percent"] == precision


def test_images_far_from_the_known_ones_stand_out():
    rng = np.random.default_rng(0)
    known, usual, strange = (rng.standard_normal((80, 16)) + offset for offset in (0, 0, 3))
    distances = neighbour_distance(np.concatenate([usual, strange]), known, 5)
    expected = np.sort(np.linalg.norm(usual[0] - known, axis=1))[4]
    assert distances[0] == pytest.approx(expected, rel=1e-9)
    assert AnomalyMetric().compute(predictions=distances, references=np.arange(160) >= 80)["auc"] > 0.99


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([0.1, 0.2], [1], r"must both be \(batch,\), got \(2,\) and \(1,\)"),
        ([[0.1]], [[1]], r"must both be \(batch,\)"),
        ([0.1, np.nan, np.inf], [1, 0, 0], "2 of 3 scores are NaN or infinite, first score 1"),
        ([0.1, 0.2], [1, 2], r"references must be true \(1\) of an anomaly"),
        ([0.1], None, "references are missing"),
    ],
)
def test_wrong_input_is_refused(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        AnomalyMetric().compute(predictions=predictions, references=references)
