"""The files of training/accelerate: keys that accelerate knows, layers that exist. Other tests run those for a CPU."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from lens_transformers import LensMAEConfig, LensMAEForPreTraining


TRAINING = Path(__file__).parents[2] / "training"
CONFIGS = sorted((TRAINING / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))  # raises on unknown keys of its own
    options = set(vars(launch_command_parser().parse_args(["script.py"])))
    assert {*config.fsdp_config, *config.deepspeed_config} <= options


def test_the_layer_that_fsdp_wraps_is_one_of_the_networks():
    config = load_config_from_file(str(TRAINING / "accelerate/fsdp2.yaml"))
    model = LensMAEForPreTraining(LensMAEConfig.from_size("tiny"))
    wrapped = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert wrapped in {type(module).__name__ for module in model.modules()}
