import numpy as np
import pytest

from lens_transformers.evaluation.calibration import expected_calibration_error


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [1] * 6 + [0] * 4)  # 0.7 where it says 0.9, and 0.6 where it says so
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.1)
    assert expected_calibration_error(np.eye(2)[labels], labels) == 0
