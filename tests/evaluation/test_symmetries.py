import pytest
import torch

from lens_transformers.evaluation import average_over_symmetries
from lens_transformers.evaluation.symmetries import NUM_SYMMETRIES, turn, turn_back


@pytest.fixture
def images():
    return torch.randn(2, 3, 6, 6)


def test_the_eight_symmetries_differ_and_the_first_changes_nothing(images):
    turned = [turn(images, symmetry) for symmetry in range(NUM_SYMMETRIES)]
    assert torch.equal(turned[0], images)
    assert not any(torch.equal(turned[i], turned[j]) for i in range(NUM_SYMMETRIES) for j in range(i))


@pytest.mark.parametrize("symmetry", range(NUM_SYMMETRIES))
def test_turning_back_undoes_a_turn(images, symmetry):
    assert torch.equal(turn_back(turn(images, symmetry), symmetry), images)


def test_a_number_that_is_no_symmetry_is_refused(images):
    with pytest.raises(ValueError, match="from 0 to 7, got 8"):
        turn(images, 8)


@pytest.mark.parametrize("symmetry", range(NUM_SYMMETRIES))
def test_averaged_vectors_do_not_depend_on_which_way_an_image_comes(images, symmetry):
    weights = torch.randn(3 * 6 * 6, 5)

    def logits(of):
        return average_over_symmetries(lambda batch: batch.flatten(1) @ weights, of, gives_images=False)

    torch.testing.assert_close(logits(turn(images, symmetry)), logits(images))
    assert not torch.allclose(images.flatten(1) @ weights, logits(images))


@pytest.mark.parametrize("symmetry", range(NUM_SYMMETRIES))
def test_averaged_images_turn_with_the_ones_that_go_in(images, symmetry):
    kernel = torch.randn(3, 3, 3, 3)

    def sharpened(of):
        return average_over_symmetries(
            lambda batch: torch.nn.functional.conv2d(batch, kernel, padding=1), of, gives_images=True
        )

    torch.testing.assert_close(sharpened(turn(images, symmetry)), turn(sharpened(images), symmetry))


def test_a_network_that_turns_with_its_images_is_left_as_it_is(images):
    torch.testing.assert_close(average_over_symmetries(torch.sin, images, gives_images=True), torch.sin(images))
