"""Which checkpoints a network may start from."""

import networks
import pytest
import torch
from command_line import ModelArguments

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEModel,
)


KINDS = (LensMAEModel, LensMAEForPreTraining, LensMAEForClassification, LensMAEForSuperResolution)
LAYERS = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        kind(LensMAEConfig.from_size("tiny", **LAYERS)).save_pretrained(folder / kind.__name__)
    return folder


def make(model_class, checkpoint, overrides=None):
    arguments = ModelArguments(model_name_or_path=str(checkpoint), config_overrides=overrides)
    return networks.make_model(model_class, arguments, networks.make_config(arguments, num_channels=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_class", KINDS[1:])
def test_a_network_starts_from_its_own_kind_or_a_pretrained_encoder(checkpoints, model_class, kind):
    starts_from = {
        model_class,
        *([] if model_class is LensMAEForPreTraining else [LensMAEModel, LensMAEForPreTraining]),
    }
    folder = checkpoints / kind.__name__
    if kind not in starts_from:
        with pytest.raises(
            ValueError, match=f"{kind.__name__} holds {kind.__name__}, and this needs {model_class.__name__}"
        ):
            make(model_class, folder)
        return
    encoder = LensMAEModel.from_pretrained(folder).state_dict()
    started = make(model_class, folder)
    assert all(torch.equal(value, encoder[name]) for name, value in started.base_model.state_dict().items())
    if kind is model_class:
        own = model_class.from_pretrained(folder).state_dict()
        assert all(torch.equal(value, own[name]) for name, value in started.state_dict().items())


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_change_by_which_weights_are_lost_or_drawn_is_refused(checkpoints, kind, num_layers):
    with pytest.raises(
        ValueError, match=rf"num_hidden_layers={num_layers}: \d+ weights would be lost or drawn.*layers"
    ):
        make(LensMAEForClassification, checkpoints / kind.__name__, f"num_hidden_layers={num_layers}")


@pytest.mark.parametrize("model_class", KINDS[1:])
def test_every_weight_takes_part_in_a_step(model_class):
    # Otherwise processes would wait for each other, as `ddp_find_unused_parameters` is off.
    with_class_token = {"use_cls_token": True, "pooling": "cls"}
    for overrides in ({}, {**with_class_token, "sr_head": "staged", "sr_skip": False}):
        model = model_class(LensMAEConfig.from_size("tiny", **LAYERS, num_labels=3, **overrides))
        labels = {"labels": torch.tensor([0, 1])} if model_class is LensMAEForClassification else {}
        if model_class is LensMAEForSuperResolution:
            labels = {"labels": torch.rand(2, 1, 64, 64)}
        model(torch.rand(2, 1, 32, 32), **labels).loss.backward()
        assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
