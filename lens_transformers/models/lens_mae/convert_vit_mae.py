# Copyright 2026 The lens_transformers authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Convert ViT-MAE checkpoints, such as `facebook/vit-mae-base`, into LensMAE.

Run it as `python -m lens_transformers.models.lens_mae.convert_vit_mae facebook/vit-mae-base OUTPUT`. ViT-MAE knows
pictures from black, 0, to white, 1: the image processor makes that of 8-bit pictures, and arrays must lie in [0, 1].
"""

import argparse
from typing import Any

import numpy as np
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils import IMAGE_PROCESSOR_NAME, has_file

from .configuration_lens_mae import LensMAEConfig
from .image_processing_lens_mae import LensMAEImageProcessor
from .modeling_lens_mae import LensMAEForPreTraining, to_patches


# How the two position tables may differ in a checkpoint that holds them in half precision.
POSITION_TOLERANCE = 1e-3


def convert_vit_mae(vit_mae: ViTMAEForPreTraining, num_channels: int | None = None) -> LensMAEForPreTraining:
    """Make the LensMAE that computes what a ViT-MAE computes.

    Args:
        vit_mae: Model to convert.
        num_channels: Bands of the new model: as many as `vit_mae` has, or 1. One band is treated as if it were
            repeated in all of `vit_mae`'s, and the prediction is the mean of theirs.

    Returns:
        A LensMAE with the same weights, in evaluation mode.

    Raises:
        ValueError: If `num_channels` is neither 1 nor that of `vit_mae`, or if its positions are not the fixed
            sin-cos table, which LensMAE has.
    """
    old = vit_mae.config
    num_channels = old.num_channels if num_channels is None else num_channels
    if num_channels not in (1, old.num_channels):
        raise ValueError(f"`num_channels` can be {old.num_channels}, as in the checkpoint, or 1, not {num_channels}.")
    arguments = {name: getattr(old, name) for name in ViTMAEConfig.__annotations__}
    model = LensMAEForPreTraining(LensMAEConfig(**{**arguments, "num_channels": num_channels}))

    state = {name.replace("vit.", "lens_mae.", 1): value for name, value in vit_mae.state_dict().items()}
    own_positions: list[Any] = [model.lens_mae.embeddings.position_embeddings, model.decoder.position_embeddings]
    for name, own in zip(
        ("lens_mae.embeddings.position_embeddings", "decoder.decoder_pos_embed"), own_positions, strict=True
    ):
        _check_positions(state.pop(name), own.table)

    kernel_name = "lens_mae.embeddings.patch_embeddings.projection.weight"
    kernel = state[kernel_name]
    if num_channels != old.num_channels:
        kernel = kernel.sum(dim=1, keepdim=True)
        for name in ("decoder.decoder_pred.weight", "decoder.decoder_pred.bias"):
            value = state[name]
            state[name] = value.unflatten(0, (-1, old.num_channels)).mean(dim=1)
    state[kernel_name] = to_patches(kernel, model.config.patch_size)[:, 0]
    model.load_state_dict(state)
    return model.eval()


def _check_positions(table: torch.Tensor, own: torch.Tensor) -> None:
    if table.shape[1] != own.shape[1] + 1 or not torch.allclose(table[:, 1:].to(own), own, atol=POSITION_TOLERANCE):
        raise ValueError(
            "The checkpoint's position embeddings are not the fixed 2-D sin-cos table that ViT-MAE is published with, "
            "so LensMAE cannot compute the same."
        )


def convert_image_processor(checkpoint: str, config: LensMAEConfig) -> LensMAEImageProcessor:
    """Make the image processor that gives what the one of a ViT-MAE checkpoint gives, but for how it resizes.

    Args:
        checkpoint: Hub name or folder of the checkpoint; where it has no processor, it is taken to be trained as
            published ones are.
        config: Configuration of the converted model. Its only band, if it has one, takes the means of the constants.

    Returns:
        The processor, for pictures of 8 bits and for arrays in [0, 1].
    """
    saved: dict[str, Any] = {}
    if has_file(checkpoint, IMAGE_PROCESSOR_NAME):
        saved, _ = LensMAEImageProcessor.get_image_processor_dict(checkpoint)
    mean, std = saved.get("image_mean", IMAGENET_DEFAULT_MEAN), saved.get("image_std", IMAGENET_DEFAULT_STD)
    one_band = config.num_channels == 1
    height, width = config.image_height_width
    return LensMAEImageProcessor(
        normalization="standardize",
        num_bands=config.num_channels,
        image_mean=np.mean(mean).item() if one_band else mean,
        image_std=np.mean(std).item() if one_band else std,
        white_flux=1.0,
        do_resize=True,
        size={"height": height, "width": width},
    )


def main() -> None:
    """Convert a checkpoint from the Hub or a folder and save it with its image processor."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", help="Hub name or folder of a ViT-MAE pretraining checkpoint")
    parser.add_argument("output_dir", help="folder to write")
    parser.add_argument("--num_channels", type=int, default=1, help="bands of the converted model (default: 1)")
    arguments = parser.parse_args()
    model = convert_vit_mae(ViTMAEForPreTraining.from_pretrained(arguments.checkpoint), arguments.num_channels)
    model.save_pretrained(arguments.output_dir)
    convert_image_processor(arguments.checkpoint, model.config).save_pretrained(arguments.output_dir)


if __name__ == "__main__":
    main()
