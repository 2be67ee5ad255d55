import numpy as np
import pytest

from lens_transformers.evaluation.binning import bin_scores, wilson_interval


def test_bins_hold_as_many_images_each_and_average_their_scores():
    values = np.arange(8.0)
    bins = bin_scores(values, values >= 4, num_bins=4)
    np.testing.assert_array_equal(bins.count, [2, 2, 2, 2])
    np.testing.assert_array_equal(bins.score, [0, 0, 1, 1])
    np.testing.assert_allclose(bins.center, [0.5, 2.5, 4.5, 6.5])
    assert bins.low[0] == 0 and bins.high[-1] == 7
    np.testing.assert_array_equal(bins.low[1:], bins.high[:-1])


def test_images_without_the_parameter_are_left_out():
    bins = bin_scores([1.0, np.nan, 2.0, np.inf], [True, False, True, False], num_bins=1)
    assert (bins.count.sum(), bins.score[0]) == (2, 1.0)


def test_equal_values_share_a_bin():
    bins = bin_scores([5.0, 5.0, 5.0], [1.0, 2.0, 3.0], num_bins=8)
    assert (bins.count.tolist(), bins.score.tolist()) == ([3], [2.0])


def test_intervals_of_numbers_are_of_their_mean_and_shrink_with_the_images():
    rng = np.random.default_rng(0)
    few, many = (bin_scores(np.zeros(n), rng.normal(30, 2, n), num_bins=1) for n in (100, 10000))
    assert few.score_high[0] - few.score_low[0] == pytest.approx(2 * 1.96 * 2 / 10, rel=0.2)
    assert many.score_high[0] - many.score_low[0] == pytest.approx(2 * 1.96 * 2 / 100, rel=0.05)


def test_wilsons_interval_is_that_of_the_textbook():
    low, high = wilson_interval([0, 8, 10], 10)
    np.testing.assert_allclose(low, [0, 0.4902, 0.7225], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.9433, 1], atol=1e-4)


@pytest.mark.parametrize(
    ("values", "scores", "message"),
    [
        ([1.0, 2.0], [True], "must be lists of one length"),
        ([1.0, 2.0], [0.5, np.nan], "scores: 1 of 2 are NaN"),
        ([np.nan], [True], "none of them is finite"),
    ],
)
def test_what_cannot_be_binned_is_refused(values, scores, message):
    with pytest.raises(ValueError, match=message):
        bin_scores(values, scores)
