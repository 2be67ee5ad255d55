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
"""LensMAE model configuration."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


# What each named size changes in the defaults. `tiny` and `small` are for lens images of 64x64 to 150x150 pixels and
# carry the convolutional stem without which substructure is not seen; `base` and `large` are the published ViT-MAE.
_CONV_STEM = {
    "image_size": 64,
    "patch_size": 8,
    "stem_type": "conv",
    "mask_unit_size": 2,
    "use_cls_token": False,
    "pooling": "mean_std_max",
    "layer_norm_eps": 1e-6,
}
_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        **_CONV_STEM,
        "stem_hidden_size": 32,
        "hidden_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "initializer_range": 0.07,
        "decoder_hidden_size": 64,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 256,
        "sr_num_blocks": 2,
        "sr_decoder_hidden_size": 64,
        "sr_decoder_num_hidden_layers": 1,
        "sr_decoder_num_attention_heads": 2,
    },
    "small": {
        **_CONV_STEM,
        "stem_hidden_size": 48,
        "hidden_size": 256,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "intermediate_size": 1024,
        "initializer_range": 0.05,
        "decoder_hidden_size": 128,
        "decoder_num_hidden_layers": 4,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 512,
        "sr_hidden_size": 48,
        "sr_num_blocks": 8,
        "sr_decoder_hidden_size": 128,
        "sr_decoder_num_hidden_layers": 2,
        "sr_decoder_num_attention_heads": 4,
    },
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}

_MAX_NUM_LABELS = 1_000_000


# The docstring is written out, so that it reads the same here, in an editor and in the code on the Hub.
# trf-ignore: TRF057
@strict
class LensMAEConfig(PreTrainedConfig):
    """Configuration of every LensMAE model: the encoder, the pretraining decoder and both fine-tuned heads.

    The arguments of `ViTMAEConfig` keep their names and defaults, so `LensMAEConfig()` is the ViT-MAE network
    (He et al. 2022, arXiv:2111.06377) with one band. `LensMAEConfig.from_size` makes the named sizes.

    Args:
        hidden_size: Width of the encoder.
        num_hidden_layers: Number of transformer layers of the encoder.
        num_attention_heads: Number of attention heads of each layer.
        intermediate_size: Width of the MLP of each layer.
        hidden_act: Activation of the MLPs.
        hidden_dropout_prob: Dropout after attention and MLP.
        attention_probs_dropout_prob: Dropout of the attention weights.
        initializer_range: Standard deviation with which weights are drawn.
        layer_norm_eps: Epsilon of the layer norms.
        image_size: Side, or height and width, in pixels, for which the table of positions is made. Images of any
            other size are taken too; their positions are interpolated.
        patch_size: Side of a patch, in pixels.
        num_channels: Number of bands.
        qkv_bias: Whether queries, keys and values have a bias.
        stem_type: How pixels become tokens: `"patch"`, one linear map of each patch as in ViT-MAE, or `"conv"`, a
            residual convolutional stem of stride `patch_size` (4, 8 or 16).
        stem_hidden_size: Width of the convolutional stem's first stage; it doubles whenever the stride does.
        mask_unit_size: Side, in patches, of the square blocks that are masked together. A convolutional stem needs
            blocks larger than one patch to have something to convolve.
        position_embedding_type: Where the positions of patches come from: `"sincos"`, a fixed table, or `"learned"`,
            trained from small random numbers as in ViT.
        use_cls_token: Whether a class token precedes the patch tokens.
        pooling: What `pooler_output` is: `"cls"`, the class token; `"mean"`, the mean of the patch tokens;
            `"mean_std_max"`, their mean, standard deviation and maximum side by side, which sees the few pixels that
            substructure moves.
        decoder_num_attention_heads: Number of attention heads of the pretraining decoder.
        decoder_hidden_size: Width of the pretraining decoder.
        decoder_num_hidden_layers: Number of layers of the pretraining decoder.
        decoder_intermediate_size: Width of the MLPs of the pretraining decoder.
        mask_ratio: Fraction of the blocks that pretraining hides, in [0, 1).
        prediction_ratio: Fraction of the hidden blocks, in (0, 1], that a step of pretraining predicts; evaluation
            predicts all. The decoder is then that of CrossMAE (Fu et al. 2024, arXiv:2401.14391), in which a hidden
            patch looks at the visible ones alone. With `None` it is that of ViT-MAE, which costs more: all patches
            look at each other, and all hidden ones are predicted.
        imprint_loss_weight: What the loss of the imprint counts beside that of the hidden pixels. Above 0, a linear
            map of every visible token predicts what substructure changes in its patch, where an `imprint` says
            it: a teacher that only simulations have.
        imprint_std: Standard deviation of imprints, by which errors of theirs are divided.
        norm_pix_loss: Whether pretraining predicts pixels standardised patch by patch.
        frozen_part: What training leaves as it is: `"patch_embeddings"`, `"encoder"` or `None`. Set by the
            `freeze_*` methods, and applied again whenever the checkpoint is loaded.
        temperature: What a classifier's logits are divided by to become calibrated probabilities,
            softmax(logits / temperature) (Guo et al. 2017, arXiv:1706.04599). It leaves the logits as they are.
        upscale: Super-resolution factor: 2, 3 or 4.
        sr_head: Super-resolution head: `"residual"`, a convolutional path at the input's resolution which the encoder
            joins, or `"staged"`, encoder tokens through four PixelShuffle stages and a bilinear resize, without any
            path for pixels.
        sr_skip: Whether the head adds its output to the bicubic upsampling of its input.
        sr_hidden_size: Width of the convolutional path.
        sr_num_blocks: Number of residual blocks of the convolutional path.
        sr_encoder_channels: Number of channels in which the encoder joins the convolutional path.
        sr_decoder_hidden_size: Width of the transformer layers between encoder and super-resolution head.
        sr_decoder_num_hidden_layers: Number of those layers.
        sr_decoder_num_attention_heads: Number of their attention heads.
        sr_loss: Super-resolution loss: `"charbonnier"`, `"l1"` or `"mse"`.
        sr_pixel_mean: Flux, one number or one a band, that the super-resolution network subtracts from its input.
        sr_pixel_std: Flux by which it then divides, and by which its residual is multiplied.
        sr_encoder_stretch: Flux `a` of the stretch arcsinh(x / a) under which the encoder was pretrained.
            Super-resolution takes pixels in flux and stretches them for the encoder itself. With `None` the encoder
            sees what the convolutions see.
        sr_encoder_mean: Mean of the stretched pixels, as in pretraining.
        sr_encoder_std: Standard deviation of the stretched pixels, as in pretraining.

    Example:
        ```python
        >>> from lens_transformers import LensMAEConfig, LensMAEForPreTraining

        >>> configuration = LensMAEConfig.from_size("tiny")
        >>> model = LensMAEForPreTraining(configuration)
        ```
    """

    model_type = "lens_mae"
    sizes: ClassVar[tuple[str, ...]] = tuple(_SIZES)

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | list[int] | tuple[int, int] = 224
    patch_size: int = 16
    num_channels: int = 1
    qkv_bias: bool = True
    stem_type: str = "patch"
    stem_hidden_size: int = 24
    mask_unit_size: int = 1
    position_embedding_type: str = "sincos"
    use_cls_token: bool = True
    pooling: str = "cls"
    decoder_num_attention_heads: int = 16
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_intermediate_size: int = 2048
    mask_ratio: float | int = 0.75
    prediction_ratio: float | int | None = None
    imprint_loss_weight: float | int = 0.0
    imprint_std: float | int = 1.0
    norm_pix_loss: bool = False
    frozen_part: str | None = None
    temperature: float | int = 1.0
    upscale: int = 2
    sr_head: str = "residual"
    sr_skip: bool = True
    sr_hidden_size: int = 32
    sr_num_blocks: int = 4
    sr_encoder_channels: int = 16
    sr_decoder_hidden_size: int = 512
    sr_decoder_num_hidden_layers: int = 8
    sr_decoder_num_attention_heads: int = 8
    sr_loss: str = "charbonnier"
    sr_pixel_mean: float | int | list[float | int] = 0.0
    sr_pixel_std: float | int | list[float | int] = 1.0
    sr_encoder_stretch: float | int | None = None
    sr_encoder_mean: float | int | list[float | int] = 0.0
    sr_encoder_std: float | int | list[float | int] = 1.0

    @classmethod
    def from_size(cls, size: str, **overrides: Any) -> "LensMAEConfig":
        """Make the configuration of a named size.

        Args:
            size: `"tiny"` (0.6M parameters in the encoder), `"small"` (8M), `"base"` (86M) or `"large"` (303M, the
                24-block encoder and 8-block decoder on 16x16 patches of 224x224).
            **overrides: Any argument of the configuration, to set differently.

        Raises:
            ValueError: If there is no such size.
        """
        if size not in _SIZES:
            raise ValueError(f"There is no LensMAE of size {size!r}; the sizes are {', '.join(_SIZES)}.")
        return cls(**{**_SIZES[size], **overrides})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make the configuration from a dictionary, which has to be of this model type.

        Raises:
            ValueError: If the dictionary belongs to another architecture, or names an absurd number of classes.
        """
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            hint = (
                " Convert it with `python -m lens_transformers.models.lens_mae.convert_vit_mae`."
                if model_type == "vit_mae"
                else ""
            )
            raise ValueError(
                f"This is a checkpoint of a {model_type!r} model; LensMAE loads {cls.model_type!r} checkpoints.{hint}"
            )
        # transformers makes a dictionary of so many names before anybody can look at the number.
        num_labels = config_dict.get("num_labels")
        if isinstance(num_labels, int) and num_labels > _MAX_NUM_LABELS:
            raise ValueError(f"`num_labels` is {num_labels}; that is no number of classes of lenses.")
        return super().from_dict(config_dict, **kwargs)

    @property
    def image_height_width(self) -> tuple[int, int]:
        """Height and width, in pixels, for which the position table is made."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        height, width = self.image_size
        return height, width

    @property
    def mask_block_size(self) -> int:
        """Side of the blocks that are masked together, in pixels."""
        return self.patch_size * self.mask_unit_size

    def validate_architecture(self):
        """Refuse, in words, a configuration from which no model can be made."""
        for name, allowed in {
            "stem_type": ("patch", "conv"),
            "position_embedding_type": ("sincos", "learned"),
            "pooling": ("cls", "mean", "mean_std_max"),
            "frozen_part": (None, "patch_embeddings", "encoder"),
            "upscale": (2, 3, 4),
            "sr_head": ("residual", "staged"),
            "sr_loss": ("charbonnier", "l1", "mse"),
        }.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, not {getattr(self, name)!r}.")
        sizes = ("patch_size", "num_channels", "mask_unit_size", "stem_hidden_size", "sr_encoder_channels")
        widths = ("hidden_size", "intermediate_size", "decoder_hidden_size", "decoder_intermediate_size")
        sr_widths = ("sr_hidden_size", "sr_decoder_hidden_size")
        for name in (*sizes, *widths, *sr_widths, "decoder_num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}.")
        for name in ("num_hidden_layers", "sr_num_blocks", "sr_decoder_num_hidden_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, not {getattr(self, name)}.")
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"`image_size` is a side, or a height and a width, not {self.image_size}.")
        for prefix in ("", "decoder_", "sr_decoder_"):
            hidden_size = getattr(self, f"{prefix}hidden_size")
            num_attention_heads = getattr(self, f"{prefix}num_attention_heads")
            if num_attention_heads < 1 or hidden_size % num_attention_heads:
                raise ValueError(
                    f"`{prefix}hidden_size` ({hidden_size}) must be a multiple of `{prefix}num_attention_heads` "
                    f"({num_attention_heads})."
                )
            if hidden_size % 4:
                raise ValueError(
                    f"`{prefix}hidden_size` ({hidden_size}) must be a multiple of 4: a position is the sine and the "
                    "cosine of its row and of its column."
                )
        if min(self.image_height_width) < self.mask_block_size:
            raise ValueError(
                f"`image_size` ({self.image_size}) is smaller than a block of {self.mask_block_size} pixels "
                f"(`patch_size` {self.patch_size} x `mask_unit_size` {self.mask_unit_size})."
            )
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"`temperature` must be a finite number above 0, not {self.temperature}.")
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must lie in [0, 1), not {self.mask_ratio}.")
        if self.prediction_ratio is not None and not 0 < self.prediction_ratio <= 1:
            raise ValueError(f"`prediction_ratio` must lie in (0, 1] or be None, not {self.prediction_ratio}.")
        if not 0 <= self.imprint_loss_weight < float("inf") or not 0 < self.imprint_std < float("inf"):
            raise ValueError(
                "`imprint_loss_weight` must be a finite number of at least 0, and `imprint_std` one above 0; they are "
                f"{self.imprint_loss_weight} and {self.imprint_std}."
            )
        if self.stem_type == "conv" and self.patch_size not in (4, 8, 16):
            raise ValueError(f"The convolutional stem has stride 4, 8 or 16; `patch_size` is {self.patch_size}.")
        if self.pooling == "cls" and not self.use_cls_token:
            raise ValueError("`pooling='cls'` needs `use_cls_token=True`; otherwise pool by 'mean' or 'mean_std_max'.")
        if self.sr_head == "staged" and self.sr_decoder_hidden_size < 16:
            raise ValueError(
                "The staged head halves `sr_decoder_hidden_size` four times: it must be at least 16, not "
                f"{self.sr_decoder_hidden_size}."
            )
        for name in ("sr_pixel_mean", "sr_pixel_std", "sr_encoder_mean", "sr_encoder_std"):
            value = getattr(self, name)
            numbers = value if isinstance(value, list) else [value]
            misses_bands = isinstance(value, list) and len(value) != self.num_channels
            if misses_bands or not all(map(math.isfinite, numbers)):
                raise ValueError(
                    f"`{name}` is a finite number, or a list of one for each of the {self.num_channels} band(s) "
                    f"(`num_channels`), not {value}."
                )
            if name.endswith("_std") and min(numbers) <= 0:
                raise ValueError(f"`{name}` is divided by and must be above 0, not {value}.")
        if self.sr_encoder_stretch is not None and not 0 < self.sr_encoder_stretch < float("inf"):
            raise ValueError(f"`sr_encoder_stretch` is a finite flux above 0 or None, not {self.sr_encoder_stretch}.")


__all__ = ["LensMAEConfig"]
