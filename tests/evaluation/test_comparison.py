import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from lens_transformers.evaluation.comparison import paired_difference


def test_right_and_wrong_are_compared_by_mcnemars_exact_test():
    # 8 images that only the first gets right, 2 that only the second does, 90 on which they agree.
    first = np.array([True] * 8 + [False] * 2 + [True] * 90)
    second = np.array([False] * 8 + [True] * 2 + [True] * 90)
    result = paired_difference(first, second)
    assert result.difference == pytest.approx(0.06)
    assert result.p_value == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert result.low < 0.06 < result.high and result.num_images == 100


def test_numbers_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    scenes = rng.normal(40, 3, 200)  # scenes differ by far more than the networks do
    first, second = scenes + rng.normal(0.1, 0.3, 200), scenes
    result = paired_difference(first, second)
    expected = ttest_rel(first, second)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx(expected.confidence_interval())
    assert result.p_value < 0.01


def test_scores_may_be_tensors():
    scores = torch.tensor([40.0, 41, 42, 41], dtype=torch.bfloat16)
    result = paired_difference(scores.requires_grad_(), torch.tensor([39.0, 40, 41, 41]))
    assert result.difference == pytest.approx(0.75)


def test_networks_that_do_not_differ_have_no_difference():
    for scores in (np.array([True, False, True]), np.array([1.0, 2.0, 3.0])):
        result = paired_difference(scores, scores)
        assert (result.difference, result.p_value) == (0, 1)
    assert paired_difference([2.0, 3.0], [1.0, 2.0]).p_value == 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
        ([1.0], [1.0], "two or more"),
        ([1.0, np.nan], [1.0, 2.0], "1 scores are NaN"),
    ],
)
def test_what_are_no_pairs_is_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(first, second)
