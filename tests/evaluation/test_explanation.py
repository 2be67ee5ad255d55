import numpy as np
import pytest
import torch
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from lens_transformers import LensMAEConfig, LensMAEForClassification, LensMAEImageProcessor, LensMAEModel
from lens_transformers.evaluation.explanation import EXPLANATIONS, explain, explain_by_all


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def lens_mae(**changes):
    config = LensMAEConfig.from_size("tiny", num_labels=3, **{**SMALL, "stem_hidden_size": 8, **changes})
    model = LensMAEForClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)  # untrained, it would look at nothing
    return model


def vit(image_size=32):
    config = ViTConfig(**SMALL, image_size=image_size, patch_size=8, num_channels=1, num_labels=3)
    return ViTForImageClassification(config)


def swin():
    sizes = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4, "patch_size": 4}
    return SwinForImageClassification(SwinConfig(image_size=32, num_channels=1, num_labels=3, **sizes))


def resnet():
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=3, **sizes))


@pytest.mark.parametrize("method", EXPLANATIONS)
@pytest.mark.parametrize("make", [lens_mae, vit])
def test_every_image_gets_a_map_of_its_own_whatever_the_batch(make, method):
    model, images = make(), torch.randn(3, 1, 32, 32)
    maps = explain(model, images, method)
    assert maps.shape == (3, 32, 32) and maps.min() >= 0
    np.testing.assert_allclose(maps.max(axis=(1, 2)), 1)
    np.testing.assert_allclose(explain(model, images, method, batch_size=2), maps, atol=1e-4)


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_nothing_speaks_for_a_class_before_training(method):
    model = LensMAEForClassification(lens_mae().config).eval()
    assert np.array_equal(explain(model, torch.randn(2, 1, 32, 32), method), np.zeros((2, 32, 32)))


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_a_patch_at_the_edge_that_is_not_whole_has_a_place(method):
    assert explain(lens_mae(), torch.randn(1, 1, 35, 30), method).shape == (1, 35, 30)


def test_maps_lie_on_the_patches_that_they_are_of_also_where_the_last_is_not_whole():
    """A network whose only answer is the brightness of one patch, of images of 75 pixels in patches of eight."""

    class OnePatch(torch.nn.Module):
        config, device, dtype = LensMAEConfig(patch_size=8, image_size=80), torch.device("cpu"), torch.float32

        def forward(self, pixel_values, **kwargs):
            padded = torch.nn.functional.pad(pixel_values, (0, 5, 0, 5))
            tokens = torch.nn.functional.avg_pool2d(padded, 8).flatten(2).mT
            logits = tokens[:, 8 * 10 + 8, :] * torch.tensor([[1.0, 0.0]])
            return ImageClassifierOutputWithNoAttention(logits=logits, hidden_states=(tokens,))

    images = torch.zeros(1, 1, 75, 75)
    images[..., 64:72, 64:72] = 1.0
    (found,) = explain(OnePatch(), images, "grad_cam", class_ids=[0])
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 64 <= row < 72 and 64 <= column < 72


def test_maps_are_on_the_pixels_of_the_images_whatever_size_the_network_sees_them_in():
    model, images = lens_mae(), np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    resizing = LensMAEImageProcessor(do_resize=True, size=48)
    maps, refused = explain_by_all(model, resizing, images, [0, 0])
    assert len(maps) == len(EXPLANATIONS) and not refused
    for name, found in maps.items():
        seen = explain(model, resizing(list(images), return_tensors="pt").pixel_values, name.replace(" ", "_"), [0, 0])
        assert seen.shape == (2, 48, 48) and found.shape == (2, 32, 32)
        peaks = [np.array(np.unravel_index(one[0].argmax(), one[0].shape)) / len(one[0]) for one in (seen, found)]
        np.testing.assert_allclose(*peaks, atol=0.06)


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_a_network_in_half_precision_has_the_maps_of_the_whole_one(method):
    model, images = lens_mae(), torch.randn(2, 1, 32, 32)
    whole = explain(model, images, method, class_ids=[0, 0])
    halved = explain(model.to(torch.bfloat16), images, method, class_ids=[0, 0])
    assert np.corrcoef(whole.ravel(), halved.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_the_network_is_left_as_it_was(method):
    model = lens_mae().train()
    model.lens_mae.embeddings.eval()
    model.set_attn_implementation("sdpa")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explain(model, torch.randn(2, 1, 32, 32), method)
    assert model.training and not model.lens_mae.embeddings.training
    assert model.config._attn_implementation == "sdpa"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("make", [swin, resnet])
def test_networks_without_attention_over_the_image_have_grad_cam_alone(make):
    images = torch.randn(2, 1, 32, 32)
    assert explain(make(), images, "grad_cam").shape == (2, 32, 32)
    for method in ("attention_rollout", "gradient_attention"):
        with pytest.raises(ValueError, match="does not attend to all patches in every layer.*use 'grad_cam'"):
            explain(make(), images, method)


def test_rollout_is_the_product_of_the_layers_attentions_with_their_skip_connections():
    model, images = vit(image_size=16).eval(), torch.randn(1, 1, 16, 16)
    # The corners of a bilinear map are the patches themselves.
    corners = explain(model, images, "attention_rollout")[0][[0, 0, -1, -1], [0, -1, 0, -1]]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        layers = model(images, output_attentions=True).attentions
    lower, upper = (0.5 * layer.mean(dim=1)[0] + 0.5 * torch.eye(5) for layer in layers)
    expected = (upper @ lower)[0, 1:]  # what the class token has of each patch
    np.testing.assert_allclose(corners, expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize("method", ["gradient_attention", "grad_cam"])
def test_maps_depend_on_the_class_that_is_explained(method):
    model, images = lens_mae(), torch.randn(2, 1, 32, 32)
    maps = [explain(model, images, method, class_ids=[class_id] * 2) for class_id in (0, 1)]
    assert np.abs(maps[0] - maps[1]).max() > 0.01


class MeanBrightness(torch.nn.Module):
    """A network whose first class is brightness and whose second is darkness."""

    config, device, dtype = ResNetConfig(), torch.device("cpu"), torch.float32

    def forward(self, pixel_values, output_hidden_states):
        features = torch.nn.functional.avg_pool2d(pixel_values, 8)
        logits = features.mean(dim=(2, 3)) * torch.tensor([[1.0, -1.0]])
        return ImageClassifierOutputWithNoAttention(logits=logits, hidden_states=(features,))


def test_grad_cam_finds_the_only_patch_that_speaks_for_the_class():
    images = torch.zeros(1, 1, 32, 32)
    images[0, 0, 8:16, 24:32] = 1.0
    (found,) = explain(MeanBrightness(), images, "grad_cam", class_ids=[0])
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 8 <= row < 16 and 24 <= column < 32
    assert not explain(MeanBrightness(), images, "grad_cam", class_ids=[1]).any()


def test_an_encoder_has_a_rollout_and_no_class():
    encoder = LensMAEModel(LensMAEConfig.from_size("tiny", **SMALL, stem_hidden_size=8)).eval()
    images = torch.randn(1, 1, 32, 32)
    assert explain(encoder, images, "attention_rollout").shape == (1, 32, 32)
    with pytest.raises(ValueError, match="this network has no logits"):
        explain(encoder, images, "gradient_attention")


def test_there_is_one_class_an_image_and_the_network_knows_it():
    images = torch.randn(2, 1, 32, 32)
    with pytest.raises(ValueError, match="class_ids must be one class an image: 1 for 2 images"):
        explain(lens_mae(), images, class_ids=[1])
    with pytest.raises(ValueError, match=r"class_ids must be those of 3 classes, from 0, got \[0, 3\]"):
        explain(lens_mae(), images, class_ids=[0, 3])


def test_a_method_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="method must be one of attention_rollout, .* got 'lime'"):
        explain(lens_mae(), torch.randn(1, 1, 32, 32), "lime")
