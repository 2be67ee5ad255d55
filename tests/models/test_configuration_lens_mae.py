"""LensMAEConfig: the published defaults, the named sizes, and what is refused."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import ViTMAEConfig

from lens_transformers import LensMAEConfig


def test_the_defaults_are_the_published_network_with_one_band():
    ours, published = LensMAEConfig(), ViTMAEConfig()
    differing = {name for name in ViTMAEConfig.__annotations__ if getattr(ours, name) != getattr(published, name)}
    assert differing == {"num_channels"}
    assert ours.num_channels == 1


def test_large_is_the_24_block_encoder_with_the_8_block_decoder():
    config = LensMAEConfig.from_size("large")
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (24, 1024, 16)
    assert (config.decoder_num_hidden_layers, config.decoder_hidden_size) == (8, 512)
    assert (config.image_size, config.patch_size, config.mask_ratio) == (224, 16, 0.75)


@pytest.mark.parametrize("size", LensMAEConfig.sizes)
def test_every_named_size_takes_overrides_and_survives_json(size):
    config = LensMAEConfig.from_size(size, num_channels=3, mask_ratio=0.5)
    assert config.num_channels == 3 and config.mask_ratio == 0.5
    assert LensMAEConfig.from_dict(json.loads(config.to_json_string())).to_dict() == config.to_dict()


def test_a_temperature_survives_saving(tmp_path):
    """transformers takes the name for one of text generation, and a name of that kind out of some configurations."""
    LensMAEConfig(temperature=1.7).save_pretrained(tmp_path)
    assert LensMAEConfig.from_pretrained(tmp_path).temperature == 1.7


def test_an_unknown_size_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'huge'.*tiny, small, base, large"):
        LensMAEConfig.from_size("huge")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"patch_size": 300}, "`image_size` .224. is smaller than a block of 300 pixels"),
        ({"image_size": 24, "mask_unit_size": 2}, "smaller than a block of 32 pixels"),
        ({"hidden_size": 100}, "`hidden_size` .100. must be a multiple of `num_attention_heads` .12."),
        ({"decoder_hidden_size": 100}, "`decoder_hidden_size` .100. must be a multiple"),
        ({"hidden_size": 6, "num_attention_heads": 3}, "multiple of 4"),
        ({"mask_ratio": 1.0}, "`mask_ratio` must lie in .0, 1., not 1.0"),
        ({"mask_ratio": -0.1}, "`mask_ratio` must lie in"),
        ({"prediction_ratio": 0.0}, "`prediction_ratio` must lie in .0, 1. or be None, not 0.0"),
        ({"prediction_ratio": 1.1}, "`prediction_ratio` must lie in"),
        ({"imprint_loss_weight": -0.1}, "`imprint_loss_weight` must be a finite number of at least 0"),
        ({"imprint_std": 0.0}, "`imprint_std` one above 0; they are 0.0 and 0.0"),
        ({"decoder_num_hidden_layers": 0}, "`decoder_num_hidden_layers` must be at least 1, not 0"),
        ({"sr_pixel_std": [1.0, 0.0], "num_channels": 2}, "`sr_pixel_std` is divided by and must be above 0"),
        ({"sr_pixel_mean": [1.0, 2.0]}, "`sr_pixel_mean` is a finite number, or a list of one for each of the 1 band"),
        ({"sr_encoder_std": []}, "`sr_encoder_std` is a finite number, or a list"),
        ({"sr_pixel_std": float("nan")}, "`sr_pixel_std` is a finite number"),
        ({"sr_encoder_stretch": float("nan")}, "`sr_encoder_stretch` is a finite flux above 0 or None, not nan"),
        ({"num_hidden_layers": -1}, "`num_hidden_layers` must be at least 0, not -1"),
        ({"sr_num_blocks": -3}, "`sr_num_blocks` must be at least 0"),
        ({"intermediate_size": 0}, "`intermediate_size` must be at least 1"),
        ({"sr_hidden_size": 0}, "`sr_hidden_size` must be at least 1"),
        ({"sr_head": "staged", "sr_decoder_hidden_size": 8}, "it must be at least 16, not 8"),
        ({"image_size": [64, 64, 64]}, "`image_size` is a side, or a height and a width"),
        ({"temperature": 0.0}, "`temperature` must be a finite number above 0, not 0.0"),
        ({"temperature": -1.0}, "`temperature` must be a finite number above 0"),
        ({"temperature": float("inf")}, "`temperature` must be a finite number above 0, not inf"),
        ({"temperature": float("nan")}, "`temperature` must be a finite number above 0, not nan"),
        ({"stem_type": "linear"}, "`stem_type` must be one of .'patch', 'conv'., not 'linear'"),
        ({"stem_type": "conv", "patch_size": 14}, "stride 4, 8 or 16; `patch_size` is 14"),
        ({"position_embedding_type": "rotary"}, "`position_embedding_type` must be one of"),
        ({"use_cls_token": False}, "`pooling='cls'` needs `use_cls_token=True`"),
        ({"upscale": 5}, "`upscale` must be one of .2, 3, 4., not 5"),
        ({"sr_head": "unet"}, "`sr_head` must be one of"),
        ({"sr_encoder_stretch": 0.0}, "`sr_encoder_stretch` is a finite flux above 0"),
        ({"num_channels": 0}, "`num_channels` must be at least 1"),
        ({"frozen_part": "head"}, "`frozen_part` must be one of"),
    ],
)
def test_what_cannot_work_is_refused_in_words(arguments, words):
    with pytest.raises(StrictDataclassError, match=words):
        LensMAEConfig(**arguments)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    ViTMAEConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a checkpoint of a 'vit_mae' model.*convert_vit_mae"):
        LensMAEConfig.from_pretrained(tmp_path)


def test_an_absurd_number_of_classes_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="100000000; that is no number of classes"):
        LensMAEConfig.from_dict({"model_type": "lens_mae", "num_labels": 10**8})
