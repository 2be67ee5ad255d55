"""Networks that ours are compared with: plain ones, of which transformers has none, and a ViT that a core can train.

    python -m benchmarks.peers edsr training/recipes/sr_physical/train.yaml --output_dir runs/edsr
    python -m benchmarks.peers resnet training/recipes/lens_default/classify_from_scratch.yaml --output_dir runs/resnet
    python -m benchmarks.peers vit training/recipes/assignment/vit_classification.yaml --dataset set --output_dir vit

The network alone is another one: images, loop, schedule and evaluation are those of the script and the recipe.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ViTConfig,
    ViTImageProcessorPil,
    set_seed,
)
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.swin2sr.modeling_swin2sr import ImageSuperResolutionOutput

from lens_transformers import LensMAEConfig
from lens_transformers.models.lens_mae.modeling_lens_mae import to_channels_last


__all__ = ["EDSR", "ResNet", "SmallResNetConfig"]

TRAINING = Path(__file__).parents[1] / "training"


def main() -> None:
    """Trains one of them."""
    name = sys.argv.pop(1) if len(sys.argv) > 2 else None
    sys.path.insert(0, str(TRAINING))  # as Python does for a script that is launched
    if name == "edsr":
        import run_sr

        run_sr.main(EDSR)
    elif name == "resnet":
        import run_classification

        AutoConfig.register(SmallResNetConfig.model_type, SmallResNetConfig)
        AutoModelForImageClassification.register(SmallResNetConfig, ResNet)
        sys.argv += ["--model_type", SmallResNetConfig.model_type]
        run_classification.main()
    elif name == "vit":
        import run_classification

        with tempfile.TemporaryDirectory() as drawn:
            _draw_vit(drawn)
            sys.argv += ["--model_name_or_path", drawn]
            run_classification.main()
    else:
        sys.exit(__doc__)


class EDSR(PreTrainedModel):
    """Residual blocks without batch norm, and a sub-pixel convolution (Lim et al. 2017, arXiv:1707.02921).

    Args:
        config: Of the network it is compared with: bands, ratio, and the constants of the flux.
        width: Channels of every convolution.
        num_blocks: Residual blocks.
    """

    config_class = LensMAEConfig
    main_input_name = "pixel_values"

    def __init__(self, config: LensMAEConfig, width: int = 32, num_blocks: int = 5):
        super().__init__(config)
        for name in ("sr_pixel_mean", "sr_pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(config, name)).reshape(-1, 1, 1), persistent=False)
        self.head = _conv(config.num_channels, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width)) for _ in range(num_blocks)
        )
        self.body = _conv(width, width)
        self.tail = nn.Sequential(
            _conv(width, width * config.upscale**2),
            nn.PixelShuffle(config.upscale),
            _conv(width, config.num_channels),
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them."""

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageSuperResolutionOutput:
        """Sharpens images `(batch, bands, height, width)`; the loss is the L1 distance, as in the paper."""
        scaled = (pixel_values - self.sr_pixel_mean) / self.sr_pixel_std
        first = hidden = self.head(to_channels_last(scaled))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        reconstruction = self.sr_pixel_mean + self.sr_pixel_std * self.tail(first + self.body(hidden)).float()
        loss = None if labels is None else ((reconstruction - labels) / self.sr_pixel_std).abs().mean()
        return ImageSuperResolutionOutput(loss=loss, reconstruction=reconstruction)


class SmallResNetConfig(PreTrainedConfig):
    """Of a `ResNet`.

    Args:
        num_channels: Bands of the images.
        width: Channels of the first stage; each of the next has twice as many.
        **kwargs: As every configuration takes them.
    """

    model_type = "small_resnet"

    def __init__(self, num_channels: int = 1, width: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_channels = num_channels
        self.width = width


class ResNet(PreTrainedModel):
    """Three stages of two basic blocks (He et al. 2016, arXiv:1512.03385).

    That of transformers shrinks images to a quarter, by pooling, before its first block; substructure is a matter of
    a few pixels.
    """

    config_class = SmallResNetConfig
    main_input_name = "pixel_values"

    def __init__(self, config: SmallResNetConfig):
        super().__init__(config)
        width = config.width
        self.stem = nn.Sequential(_conv(config.num_channels, width, 2), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.ModuleList([_Block(width, width, 1), _Block(width, width, 1)])
        for channels in (2 * width, 4 * width):
            self.blocks += [_Block(channels // 2, channels, 2), _Block(channels, channels, 1)]
        self.classifier = nn.Linear(4 * width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them."""

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageClassifierOutput:
        """Classifies images `(batch, bands, height, width)`."""
        hidden = self.stem(to_channels_last(pixel_values))
        for block in self.blocks:
            hidden = block(hidden)
        logits = self.classifier(hidden.mean(dim=(2, 3)))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class _Block(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int):
        super().__init__()
        self.residual = nn.Sequential(
            _conv(num_in, num_out, stride),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            _conv(num_out, num_out),
            nn.BatchNorm2d(num_out),
        )
        self.shortcut: Any = nn.Identity()
        if num_in != num_out:
            self.shortcut = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.residual(hidden) + self.shortcut(hidden))


def _draw_vit(folder: str) -> None:
    """Leaves a checkpoint as google/vit-base-patch16-224 is one, but narrow, of small images, and of random weights.

    They are the same at every seed of a run, as a checkpoint's are.
    """
    set_seed(0)
    side = 64
    config = ViTConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        image_size=side,
        patch_size=8,
        num_labels=1000,
    )
    AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)


def _conv(num_in: int, num_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, stride, padding=1)


if __name__ == "__main__":
    main()
