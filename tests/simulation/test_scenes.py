import numpy as np
import pytest
from scipy import stats

from lens_transformers.simulation.scenes import draw_normals


def normals(index, size=22_528, seed=0):
    out = np.empty(size, dtype=np.float32)
    draw_normals(seed, index, out)
    return out


def test_the_noise_is_standard_normal_to_its_tails():
    numbers = normals(0, size=2_000_000)
    assert numbers.mean() == pytest.approx(0, abs=4 / len(numbers) ** 0.5)
    assert numbers.astype(np.float64).var() == pytest.approx(1, abs=4 * (2 / len(numbers)) ** 0.5)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    for sigmas in (2, 3, 4):
        for beyond in (numbers > sigmas, numbers < -sigmas):
            expected = len(numbers) * stats.norm.sf(sigmas)
            assert beyond.sum() == pytest.approx(expected, abs=4 * expected**0.5)


def test_the_two_numbers_of_a_pair_and_neighbours_are_independent():
    numbers = normals(0, size=400_000).astype(np.float64)
    first, second = numbers.reshape(2, -1)
    for one, other in ((first, second), (first**2, second**2), (numbers[:-1], numbers[1:])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / len(one) ** 0.5


def test_every_sample_and_seed_has_noise_of_its_own():
    drawn = np.stack([normals(0), normals(1), normals(0, seed=1), normals(2**64 - 1, seed=2**64 - 1)])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 5 / drawn.shape[1] ** 0.5


@pytest.mark.parametrize("places", [1, 3, 7])
def test_the_noise_of_a_sample_does_not_depend_on_where_in_memory_it_lies(places):
    # An image of 21 by 21 in two draws, beginning at no multiple of a vector register.
    out = np.zeros((64, 2 * 448 + places), dtype=np.float32)
    for index, row in enumerate(out):
        draw_normals(5, index, row[places:].reshape(2, 448))
    for index in (0, 1, 63):
        assert out[index, places:].tobytes() == normals(index, size=2 * 448, seed=5).tobytes()
    assert not out[:, :places].any()
