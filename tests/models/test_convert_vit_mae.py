"""ViT-MAE weights compute in LensMAE what they compute in transformers."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, ViTMAEConfig, ViTMAEForPreTraining

from lens_transformers import LensMAE
from lens_transformers.models.lens_mae import convert_vit_mae as conversion
from lens_transformers.models.lens_mae.convert_vit_mae import convert_vit_mae
from lens_transformers.models.lens_mae.modeling_lens_mae import sincos_positions


@pytest.fixture(params=[False, True], ids=["pixels", "norm_pix_loss"])
def vit_mae(request):
    """A small ViT-MAE with random weights and the sin-cos positions that published checkpoints have."""
    config = ViTMAEConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        norm_pix_loss=request.param,
    )
    model = ViTMAEForPreTraining(config)
    grid = torch.arange(4, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            table.zero_()
            table[:, 1:] = sincos_positions(grid, grid, table.shape[-1])
    return model.eval()


def test_the_same_noise_gives_the_same_loss(vit_mae):
    images, noise = torch.rand(2, 3, 32, 32), torch.rand(2, 16)
    with torch.no_grad():
        expected, outputs = vit_mae(images, noise=noise), convert_vit_mae(vit_mae)(images, noise=noise)
    assert torch.equal(outputs.mask, expected.mask)
    torch.testing.assert_close(outputs.loss, expected.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(outputs.logits, expected.logits)


def test_one_band_computes_what_repeating_it_would(vit_mae):
    images, noise = torch.rand(2, 1, 32, 32), torch.rand(2, 16)
    with torch.no_grad():
        expected = vit_mae(images.expand(-1, 3, -1, -1), noise=noise).logits.unflatten(-1, (-1, 3)).mean(-1)
        logits = convert_vit_mae(vit_mae, num_channels=1)(images, noise=noise).logits
    torch.testing.assert_close(logits, expected)


def test_positions_that_were_trained_are_refused(vit_mae):
    with torch.no_grad():
        vit_mae.decoder.decoder_pos_embed.add_(0.1)
    with pytest.raises(ValueError, match="position embeddings are not the fixed 2-D sin-cos table"):
        convert_vit_mae(vit_mae)


def test_a_checkpoint_in_half_precision_is_converted(vit_mae):
    halved = convert_vit_mae(copy.deepcopy(vit_mae).half())
    weights, whole = halved.state_dict(), convert_vit_mae(vit_mae).state_dict()
    for name, weight in weights.items():
        torch.testing.assert_close(weight.float(), whole[name].float(), rtol=2e-3, atol=1e-3)


def test_a_number_of_bands_that_has_no_meaning_is_refused(vit_mae):
    with pytest.raises(ValueError, match="can be 3, as in the checkpoint, or 1, not 2"):
        convert_vit_mae(vit_mae, num_channels=2)


def test_the_command_writes_a_folder_that_loads(vit_mae, tmp_path, monkeypatch):
    vit_mae.save_pretrained(tmp_path / "old")
    monkeypatch.setattr(sys, "argv", ["convert_vit_mae", str(tmp_path / "old"), str(tmp_path / "new")])
    conversion.main()
    model = LensMAE.from_pretrained(tmp_path / "new")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "new")
    pixel_values = processor([torch.rand(20, 24).numpy()], return_tensors="pt").pixel_values
    assert pixel_values.shape == (1, 1, 32, 32)
    assert torch.isfinite(model(pixel_values).loss)


@pytest.mark.parametrize(
    ("constants", "mean", "std"),
    [({"image_mean": [0.1, 0.2, 0.6], "image_std": [0.5, 0.3, 0.1]}, 0.3, 0.3), (None, 0.449, 0.226)],
    ids=["its own constants", "those of published checkpoints"],
)
def test_one_band_is_standardized_by_the_means_of_the_checkpoints_constants(vit_mae, tmp_path, constants, mean, std):
    if constants is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(constants))
    config = convert_vit_mae(vit_mae, num_channels=1).config
    processor = conversion.convert_image_processor(str(tmp_path), config)
    flux = torch.rand(1, 32, 32)
    pixel_values = processor(flux, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(pixel_values, (flux - mean) / std)


def test_pictures_and_floats_become_what_the_checkpoints_own_processor_makes_of_pictures(vit_mae, tmp_path):
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    settings |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = conversion.convert_image_processor(str(tmp_path), convert_vit_mae(vit_mae).config)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    expected = AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt").pixel_values
    for image in (picture, pixels / 255):
        torch.testing.assert_close(processor(image, return_tensors="pt").pixel_values, expected)
