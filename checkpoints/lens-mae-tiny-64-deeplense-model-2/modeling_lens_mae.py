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
"""LensMAE: one encoder for images of strong gravitational lenses, pretrained, classifying and super-resolving.

The masked autoencoder is that of He et al. 2022 (arXiv:2111.06377) and, with the default configuration, the network of
transformers' ViTMAE. What differs: only visible blocks are embedded at all, so that a convolutional stem can be masked
without a leak; any image size is taken; fixed positions stay fixed; images have any number of bands.
"""

import filecmp
import functools
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ImageClassifierOutput, ImageSuperResolutionOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_lens_mae import LensMAEConfig


# The sizes `tiny` and `small` take the paths of the convolutional stem, without class token, with pooled statistics;
# `base`, `large` and converted ViT-MAE checkpoints those of the linear stem with a class token. Loss, decoder, head
# and freezing are choices of whoever trains. CODEPATH notes would repeat this at each branch:
# trf-ignore: TRF041 stem_type, position_embedding_type, use_cls_token, pooling, norm_pix_loss, frozen_part
# trf-ignore: TRF041 prediction_ratio, imprint_loss_weight
# trf-ignore: TRF041 sr_head, sr_skip, sr_loss, sr_encoder_stretch


@auto_docstring(
    custom_intro="""
    Outputs of [`LensMAEModel`].
    """
)
@dataclass
class LensMAEModelOutput(ModelOutput):
    r"""
    pooler_output (`torch.FloatTensor` of shape `(batch_size, pooled_size)`):
        One vector an image, pooled from the last hidden state as `config.pooling` says. `pooled_size` is
        `hidden_size`, or three times that for `"mean_std_max"`.
    mask (`torch.FloatTensor` of shape `(batch_size, num_patches)`, *optional*, returned when masking):
        1 for the patches that were hidden, 0 for those that were seen.
    ids_restore (`torch.LongTensor` of shape `(batch_size, num_patches)`, *optional*, returned when masking):
        Place of each patch in the order "seen patches, then hidden ones".
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    mask: torch.FloatTensor | None = None
    ids_restore: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring(
    custom_intro="""
    Outputs of [`LensMAEForPreTraining`].
    """
)
@dataclass
class LensMAEForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `return_loss=True`):
        Mean squared error over the pixels of the hidden patches that were predicted; and, with an `imprint` and an
        `imprint_loss_weight`, so many times that of the imprint.
    logits (`torch.FloatTensor` of shape `(batch_size, num_patches, patch_size ** 2 * num_channels)`):
        Predicted pixels, patch by patch; 0 for the patches that are not predicted: in training those that do not
        count for the loss, and with a `prediction_ratio` always the visible ones.
    mask (`torch.FloatTensor` of shape `(batch_size, num_patches)`):
        1 for the patches that were hidden, 0 for those that were seen.
    ids_restore (`torch.LongTensor` of shape `(batch_size, num_patches)`):
        Place of each patch in the order "seen patches, then hidden ones".
    imprint_logits (`torch.FloatTensor` of the shape of `logits`, *optional*, returned with an `imprint_loss_weight`):
        Predicted imprint of substructure, patch by patch; 0 for the hidden patches. Without a mask, `unpatchify` makes
        an image of it.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    mask: torch.FloatTensor | None = None
    ids_restore: torch.LongTensor | None = None
    imprint_logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


def pad_to_blocks(pixel_values: torch.Tensor, block_size: int) -> torch.Tensor:
    """Extend images at the bottom and the right to whole blocks, by reflection inside the last, partial block.

    A plain reflection could reach into the block before it and so show an encoder pixels that are masked.

    Args:
        pixel_values: Images of shape `(batch_size, num_channels, height, width)`.
        block_size: Side of a block, in pixels.

    Returns:
        Images whose height and width are multiples of `block_size`.
    """
    for dim in (2, 3):
        size = pixel_values.shape[dim]
        partial = size % block_size
        if partial:
            positions = torch.arange(block_size - partial, device=pixel_values.device)
            period = max(2 * partial - 2, 1)
            distance = (positions + 1) % period
            source = size - 1 - torch.minimum(distance, period - distance)
            source = source.clamp(min=size - partial)
            pixel_values = torch.cat([pixel_values, pixel_values.index_select(dim, source)], dim=dim)
    return pixel_values


def patch_grid(image_size: Sequence[int], patch_size: int) -> tuple[int, int]:
    """Count the rows and columns of patches of an image of this height and width; a partial one at the edge counts."""
    height, width = image_size
    return -(-height // patch_size), -(-width // patch_size)


def _round_up(size: int, unit_size: int) -> int:
    return size + -size % unit_size


def to_patches(pixel_values: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut images, of whole patches, into flattened patches with the bands innermost.

    Args:
        pixel_values: Images of shape `(batch_size, num_channels, height, width)`.
        patch_size: Side of a patch, in pixels.

    Returns:
        Patches, row by row, of shape `(batch_size, num_patches, patch_size ** 2 * num_channels)`.
    """
    batch_size, num_channels, height, width = pixel_values.shape
    patches = pixel_values.reshape(
        batch_size, num_channels, height // patch_size, patch_size, width // patch_size, patch_size
    )
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch_size, -1, patch_size**2 * num_channels)


def from_patches(patches: torch.Tensor, patch_size: int, grid_size: tuple[int, int]) -> torch.Tensor:
    """Put flattened patches together again: the inverse of `to_patches`.

    Args:
        patches: Patches of shape `(batch_size, num_patches, patch_size ** 2 * num_channels)`.
        patch_size: Side of a patch, in pixels.
        grid_size: Rows and columns of patches.

    Returns:
        Images of shape `(batch_size, num_channels, height, width)`.
    """
    batch_size = patches.shape[0]
    rows, columns = grid_size
    pixels = patches.reshape(batch_size, rows, columns, patch_size, patch_size, -1).permute(0, 5, 1, 3, 2, 4)
    return pixels.reshape(batch_size, -1, rows * patch_size, columns * patch_size)


def to_channels_last(pixel_values: torch.Tensor) -> torch.Tensor:
    """Lay out images or features with their channels last, where convolutions are faster.

    A convolution hands that layout on. `contiguous` would leave images of one band with strides that are taken for
    channels first.

    Args:
        pixel_values: Of shape `(batch_size, num_channels, height, width)`.

    Returns:
        The same, in memory of its own.
    """
    return pixel_values.clone(memory_format=torch.channels_last)


def to_autocast(hidden_states: torch.Tensor) -> torch.Tensor:
    """Cast tokens that go through several linear maps once, where autocast would do so, and keep a copy, for each."""
    device_type = hidden_states.device.type
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return hidden_states.to(torch.get_autocast_dtype(device_type))
    return hidden_states


def sincos_positions(
    rows: torch.Tensor, columns: torch.Tensor, hidden_size: int, temperature: float = 10000.0
) -> torch.Tensor:
    """Sine and cosine of column and row, in the order in which ViT-MAE's published weights have them.

    Args:
        rows: Row coordinates, of shape `(height,)`, in floating point.
        columns: Column coordinates, of shape `(width,)`, in floating point.
        hidden_size: Width of the table, a multiple of 4.
        temperature: Base of the frequencies.

    Returns:
        Table of shape `(1, height * width, hidden_size)`, row by row.
    """
    quarter = hidden_size // 4
    frequencies = temperature ** -(torch.arange(quarter, dtype=rows.dtype, device=rows.device) / quarter)
    row_phase = (rows[:, None] * frequencies)[:, None].expand(-1, columns.shape[0], -1)
    column_phase = (columns[:, None] * frequencies)[None].expand(rows.shape[0], -1, -1)
    table = torch.cat([column_phase.sin(), column_phase.cos(), row_phase.sin(), row_phase.cos()], dim=-1)
    return table.reshape(1, -1, hidden_size)


class LensMAEPositions(nn.Module):
    """Fixed 2-D sin-cos positions of patches, for the grid of the configuration and, interpolated, for any other."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.hidden_size = config.hidden_size
        self.grid_size = patch_grid(config.image_height_width, config.patch_size)
        self.table = nn.Buffer(self.compute(self.grid_size).to(torch.get_default_dtype()), persistent=False)

    def compute(
        self, grid_size: tuple[int, int], unit_size: int = 1, device: torch.device | None = None
    ) -> torch.Tensor:
        """Compute the table for a grid that spans the same field as the one of the configuration.

        Args:
            grid_size: Rows and columns of patches.
            unit_size: Rows and columns are added until they are a multiple of it; these lie beyond the field.
            device: Where to compute; the CPU if not given.

        Returns:
            Table of shape `(1, rows * columns, hidden_size)`, in float64 where the device has it.
        """
        dtype = torch.float32 if device is not None and device.type == "mps" else torch.float64
        rows, columns = (
            (torch.arange(_round_up(size, unit_size), dtype=dtype, device=device) + 0.5) * (own_size / size) - 0.5
            for size, own_size in zip(grid_size, self.grid_size, strict=True)
        )
        return sincos_positions(rows, columns, self.hidden_size)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # The table is no weight: whatever moves, casts or empties it (`to_empty`) gets the exact values again.
        if not self.table.is_meta:
            with torch.no_grad():
                self.table.copy_(self.compute(self.grid_size))
        return self

    def forward(self, grid_size: tuple[int, int], unit_size: int = 1) -> torch.Tensor:
        if grid_size == self.grid_size and all(size % unit_size == 0 for size in grid_size):
            return self.table
        return self.compute(grid_size, unit_size, device=self.table.device).to(self.table.dtype)


class LensMAELearnedPositions(nn.Module):
    """Trained positions of patches, for the grid of the configuration and, interpolated in 2-D, for any other."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.grid_size = patch_grid(config.image_height_width, config.patch_size)
        self.table = nn.Parameter(torch.zeros(1, self.grid_size[0] * self.grid_size[1], config.hidden_size))

    def forward(self, grid_size: tuple[int, int], unit_size: int = 1) -> torch.Tensor:
        added_rows, added_columns = (-size % unit_size for size in grid_size)
        if grid_size == self.grid_size and not (added_rows or added_columns):
            return self.table
        table = self.table.unflatten(1, self.grid_size).permute(0, 3, 1, 2)
        if grid_size != self.grid_size:
            table = nn.functional.interpolate(table, size=grid_size, mode="bicubic", align_corners=False)
        table = nn.functional.pad(table, (0, added_columns, 0, added_rows), mode="replicate")
        return table.flatten(2).transpose(1, 2)


_POSITIONS: dict[str, type[nn.Module]] = {"sincos": LensMAEPositions, "learned": LensMAELearnedPositions}


@functools.cache
def _prefers_onednn() -> bool:
    """Whether this processor multiplies matrices in float32 faster by oneDNN than by MKL, as torch does by itself.

    Measured with torch 2.13 on processors of AMD: with AVX-512 by a twentieth to a half, with AVX2 alone not. MKL is
    Intel's own, and stays on Intel's.
    """
    return (
        torch.cpu.get_capabilities().get("cpu_name", "").startswith("AMD")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_watched() -> bool:
    # Whoever traces, transforms or counts what is computed knows torch's linear map, not ours.
    return (
        torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _onednn_linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    # The operator is that of compiled models. Plain torch multiplies by oneDNN in half precision, and in float32 only
    # tensors of oneDNN's own layout, which would have to be copied.
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    """`nn.functional.linear` by oneDNN, whose operator has no gradient."""

    @staticmethod
    def forward(ctx, hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # What no gradient needs is not kept: a frozen layer remembers no tokens.
        ctx.save_for_backward(
            hidden_states if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None
        )
        return _onednn_linear(hidden_states, weight, bias)

    @staticmethod
    def backward(ctx, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_states, weight = ctx.saved_tensors
        # A gradient that is to have one itself is made of operators that have one.
        linear = nn.functional.linear if torch.is_grad_enabled() else _onednn_linear
        grad_rows = grad_output.flatten(0, -2)
        grad_hidden_states = grad_weight = grad_bias = None
        if weight is not None:
            grad_hidden_states = linear(grad_rows, weight.T).view(*grad_output.shape[:-1], -1)
        if hidden_states is not None:
            rows = hidden_states.flatten(0, -2)
            # Of sums over all tokens oneDNN is faster only where fewer numbers go out than come in.
            is_narrowing = grad_rows.shape[1] < rows.shape[1]
            grad_weight = (linear if is_narrowing else nn.functional.linear)(grad_rows.T, rows.T)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_rows.sum(0)
        return grad_hidden_states, grad_weight, grad_bias


class LensMAELinear(nn.Linear):
    """A linear map of tokens, which in float32 on a CPU takes the faster of torch's two libraries.

    They agree to rounding. `torch.backends.mkldnn.flags(enabled=False)` leaves the choice to torch.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self._takes_onednn(hidden_states):
            return _OneDNNLinear.apply(hidden_states, self.weight, self.bias)
        return super().forward(hidden_states)

    def _takes_onednn(self, hidden_states: torch.Tensor) -> bool:
        return (
            # Asked first: below, a compiler would take the number of tokens for a condition of its graph.
            not torch.compiler.is_compiling()
            # With fewer multiplications the call costs more than it saves.
            and hidden_states.numel() * self.out_features >= 2**23
            and hidden_states.device.type == "cpu"
            and hidden_states.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and _prefers_onednn()
            and torch.backends.mkldnn.enabled
            # Neither quantized nor sharded.
            and type(hidden_states) is torch.Tensor
            and type(self.weight) is nn.Parameter
            and not _is_watched()
        )


class LensMAEPatchProjection(LensMAELinear):
    """The linear map of the patches; a class of its own for its initialisation."""


class LensMAELinearStem(nn.Module):
    """One linear map of every patch, as in ViT-MAE."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = LensMAEPatchProjection(config.patch_size**2 * config.num_channels, config.hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.projection(to_patches(pixel_values, self.patch_size))


class LensMAEStemBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a skip connection (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        residual = features
        if self.shortcut is not None:
            # Of every second pixel, which a strided convolution would take by itself: on processors with AVX2 alone,
            # its gradient writes beyond its memory where there are few channels (torch 2.13).
            residual = self.shortcut_norm(self.shortcut(features[..., :: self.stride, :: self.stride]))
        features = nn.functional.relu(self.norm1(self.conv1(features)))
        features = self.norm2(self.conv2(features))
        return nn.functional.relu(features + residual)


class LensMAEConvStem(nn.Module):
    """Residual convolutions down to one token a patch; they see substructure that a linear map of patches does not."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        width = config.stem_hidden_size
        self.convolution = nn.Conv2d(config.num_channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList([LensMAEStemBlock(width, width, stride=1)])
        stride = 2
        while stride < config.patch_size:
            if stride > 2:
                self.blocks.append(LensMAEStemBlock(width, width, stride=1))
            self.blocks.append(LensMAEStemBlock(width, 2 * width, stride=2))
            width, stride = 2 * width, 2 * stride
        self.projection = nn.Conv2d(width, config.hidden_size, 1)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = self.convolution(to_channels_last(pixel_values))
        features = nn.functional.relu(self.norm(features))
        for block in self.blocks:
            features = block(features)
        return self.projection(features).flatten(2).transpose(1, 2)


def _checked_images(pixel_values: torch.Tensor, num_channels: int) -> torch.Tensor:
    if pixel_values.ndim != 4:
        raise ValueError(
            f"`pixel_values` must have the shape (batch, bands, height, width), not {tuple(pixel_values.shape)}."
        )
    if pixel_values.shape[1] != num_channels:
        raise ValueError(
            f"This model takes {num_channels} band(s) (`num_channels`), but `pixel_values` has "
            f"{pixel_values.shape[1]}: {tuple(pixel_values.shape)}."
        )
    # Constants and predictions are made of the type of the pixels, and would be cut to whole numbers as well.
    return pixel_values if pixel_values.is_floating_point() else pixel_values.float()


class LensMAEEmbeddings(nn.Module):
    """Turn images into tokens with positions; when masking, the blocks that stay visible and no others."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.config = config
        self.patch_embeddings = LensMAEConvStem(config) if config.stem_type == "conv" else LensMAELinearStem(config)
        self.position_embeddings = _POSITIONS[config.position_embedding_type](config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size)) if config.use_cls_token else None

    def forward(
        self, pixel_values: torch.Tensor, noise: torch.Tensor | None = None, mask_ratio: float | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        patch_size = self.config.patch_size
        pixel_values = _checked_images(pixel_values, self.config.num_channels)
        if min(pixel_values.shape[2:]) < patch_size:
            raise ValueError(
                f"Images of {pixel_values.shape[2]}x{pixel_values.shape[3]} pixels are smaller than one patch of "
                f"{patch_size}x{patch_size}."
            )
        pixel_values = pixel_values.to(self.patch_embeddings.projection.weight.dtype)

        mask = ids_restore = None
        if mask_ratio is None:
            positions = self.position_embeddings(patch_grid(pixel_values.shape[2:], patch_size))
            embeddings = self.patch_embeddings(pad_to_blocks(pixel_values, patch_size)) + positions
        else:
            embeddings, mask, ids_restore = self.embed_visible(pixel_values, noise, mask_ratio)
        if self.cls_token is not None:
            # As published, the class token has the position zero.
            embeddings = torch.cat([self.cls_token.expand(embeddings.shape[0], -1, -1), embeddings], dim=1)
        return embeddings, mask, ids_restore

    def embed_visible(
        self, pixel_values: torch.Tensor, noise: torch.Tensor | None, mask_ratio: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cut out a random choice of blocks and embed each of them alone.

        Args:
            pixel_values: Images of shape `(batch_size, num_channels, height, width)`.
            noise: Random numbers of shape `(batch_size, num_blocks)`; the blocks with the smallest stay visible.
            mask_ratio: Fraction of the blocks to hide, in [0, 1). At least one block stays.

        Returns:
            Embeddings of the visible patches, and `mask` and `ids_restore` over all patches.
        """
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must lie in [0, 1), not {mask_ratio}.")
        unit_size, block_size = self.config.mask_unit_size, self.config.mask_block_size
        whole_grid_size = patch_grid(pixel_values.shape[2:], self.config.patch_size)
        pixel_values = pad_to_blocks(pixel_values, block_size)
        batch_size, num_channels, height, width = pixel_values.shape
        block_rows, block_columns = height // block_size, width // block_size
        num_blocks = block_rows * block_columns
        num_visible = max(int(num_blocks * (1 - mask_ratio)), 1)
        if noise is None:
            noise = torch.rand(batch_size, num_blocks, device=pixel_values.device)
        elif noise.shape != (batch_size, num_blocks):
            raise ValueError(
                f"`noise` must have one number for each image and block, ({batch_size}, {num_blocks}), "
                f"not {tuple(noise.shape)}."
            )
        block_order = torch.argsort(noise, dim=1)

        blocks = to_patches(pixel_values, block_size)
        blocks = _take_patches(blocks, block_order[:, :num_visible])
        blocks = from_patches(blocks.flatten(0, 1), block_size, (1, 1))
        embeddings = self.patch_embeddings(blocks).reshape(batch_size, num_visible * unit_size**2, -1)

        # Patches are numbered row by row over the image; each block holds unit_size x unit_size of them.
        grid_size = (block_rows * unit_size, block_columns * unit_size)
        patches = torch.arange(grid_size[0] * grid_size[1], device=pixel_values.device)
        patches_of_block = to_patches(patches.view(1, 1, *grid_size), unit_size)[0]
        patch_order = patches_of_block[block_order].flatten(1)
        ids_restore = torch.argsort(patch_order, dim=1)

        positions = self.position_embeddings(whole_grid_size, unit_size)[0]
        embeddings = embeddings + positions[patch_order[:, : embeddings.shape[1]]]
        mask = torch.ones(patch_order.shape, device=pixel_values.device)
        mask[:, : embeddings.shape[1]] = 0
        return embeddings, mask.gather(1, ids_restore), ids_restore


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention as two matrix products, which also returns its weights."""
    # Queries are fewer numbers than weights to scale, and softmax sums in float32 whatever the type. Of long rows its
    # result is not kept in float32 for the gradient, which would be most of a step's memory; of short ones a CPU takes
    # several times as long in half precision (torch 2.13). The product would copy keys as well, but transposed, which
    # is slower.
    attention_weights = torch.matmul(query * scaling, key.contiguous().transpose(2, 3))
    if attention_mask is not None:
        attention_weights = attention_weights + attention_mask
    is_short_in_half = key.shape[2] < 64 and query.dtype in (torch.bfloat16, torch.float16)
    attention_weights = nn.functional.softmax(attention_weights, -1, dtype=torch.float32 if is_short_in_half else None)
    attention_weights = attention_weights.to(query.dtype)
    attention_weights = nn.functional.dropout(attention_weights, p=dropout, training=module.training)
    attention_output = torch.matmul(attention_weights, value).transpose(1, 2).contiguous()
    return attention_output, attention_weights


class LensMAEAttention(nn.Module):
    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.scaling = self.head_dim**-0.5
        self.is_causal = False

        self.q_proj = LensMAELinear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = LensMAELinear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = LensMAELinear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = LensMAELinear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        input_shape, key_shape = hidden_states.shape[:-1], key_value_states.shape[:-1]
        query_states = self.q_proj(hidden_states).view(*input_shape, self.num_heads, self.head_dim).transpose(1, 2)
        key_states = self.k_proj(key_value_states).view(*key_shape, self.num_heads, self.head_dim).transpose(1, 2)
        value_states = self.v_proj(key_value_states).view(*key_shape, self.num_heads, self.head_dim).transpose(1, 2)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        if query_states.device.type == "cpu" and query_states.dtype == torch.bfloat16:
            # In bfloat16 the CPU's fused attention has a backward pass slower than two matrix products.
            attention_interface = eager_attention_forward
        attention_output, attention_weights = attention_interface(
            self,
            query_states,
            key_states,
            value_states,
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(attention_output.reshape(*input_shape, -1).contiguous()), attention_weights


class LensMAEMLP(nn.Module):
    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc1 = LensMAELinear(config.hidden_size, config.intermediate_size)
        self.fc2 = LensMAELinear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class LensMAELayer(GradientCheckpointingLayer):
    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.attention = LensMAEAttention(config)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = LensMAEMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        changed: slice = slice(None),
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """Give these tokens changed, once they looked at the key-value states or, without any, at all tokens."""
        residual = hidden_states[:, changed]
        normed_states = to_autocast(self.layernorm_before(hidden_states))
        if key_value_states is None:
            key_value_states = normed_states
        hidden_states, _ = self.attention(normed_states[:, changed], key_value_states, **kwargs)
        hidden_states = self.dropout(hidden_states) + residual

        residual = hidden_states
        hidden_states = self.mlp(self.layernorm_after(hidden_states))
        return self.dropout(hidden_states) + residual


class LensMAEDecoder(nn.Module):
    """Predict the pixels of patches from the tokens of the visible ones.

    As in ViT-MAE all patches look at each other. With a `prediction_ratio` hidden ones look at the visible ones alone
    (CrossMAE, Fu et al. 2024, arXiv:2401.14391): what is predicted of a patch is then the same whichever others are.
    Training predicts no more than what counts for the loss: the hidden blocks, or that part of them.
    """

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        decoder_config = deepcopy(config)
        decoder_config.hidden_size = config.decoder_hidden_size
        decoder_config.num_attention_heads = config.decoder_num_attention_heads
        decoder_config.intermediate_size = config.decoder_intermediate_size
        self.use_cls_token = config.use_cls_token
        self.prediction_ratio = config.prediction_ratio
        self.mask_unit_size = config.mask_unit_size
        self.decoder_embed = LensMAELinear(config.hidden_size, config.decoder_hidden_size)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_hidden_size))
        self.position_embeddings = _POSITIONS[config.position_embedding_type](decoder_config)
        self.decoder_layers = nn.ModuleList(
            [LensMAELayer(decoder_config) for _ in range(config.decoder_num_hidden_layers)]
        )
        self.decoder_norm = nn.LayerNorm(config.decoder_hidden_size, eps=config.layer_norm_eps)
        self.decoder_pred = LensMAELinear(config.decoder_hidden_size, config.patch_size**2 * config.num_channels)

    def forward(
        self, hidden_states: torch.Tensor, patch_order: torch.Tensor, grid_size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            hidden_states: Tokens of the encoder, of shape `(batch_size, sequence_length, hidden_size)`.
            patch_order: Seen patches, then hidden ones, of shape `(batch_size, num_patches)`.
            grid_size: Rows and columns of patches of the images before they were padded to whole blocks.

        Returns:
            Pixels of the predicted patches, of shape `(batch_size, num_predicted, patch_size ** 2 * num_channels)`,
            and which patches they are, of shape `(batch_size, num_predicted)`.
        """
        hidden_states = self.decoder_embed(hidden_states)
        num_prefix = 1 if self.use_cls_token else 0
        num_visible = hidden_states.shape[1] - num_prefix
        first = self.first_predicted(patch_order.shape[1], num_visible)
        positions = self.position_embeddings(grid_size, self.mask_unit_size)[0]
        visible = hidden_states[:, num_prefix:] + positions[patch_order[:, :num_visible]]
        visible = torch.cat([hidden_states[:, :num_prefix], visible], dim=1)
        hidden_states = self.mask_token + positions[patch_order[:, max(first, num_visible) :]]
        if self.prediction_ratio is None:
            hidden_states = self.decode_together(torch.cat([visible, hidden_states], dim=1), num_prefix + first)
        elif hidden_states.shape[1]:  # without any query attention fails
            visible = to_autocast(visible)
            for layer in self.decoder_layers:
                hidden_states = layer(hidden_states, visible)
        return self.decoder_pred(self.decoder_norm(hidden_states)), patch_order[:, first:]

    def first_predicted(self, num_patches: int, num_visible: int) -> int:
        """Place, in the order "seen patches, then hidden ones", from which on patches are predicted."""
        if self.prediction_ratio is None:
            return num_visible if self.training else 0
        # Blocks come in random order, so the last of them are a random part of the hidden ones.
        patches_per_block = self.mask_unit_size**2
        num_hidden_blocks = (num_patches - num_visible) // patches_per_block
        ratio = self.prediction_ratio if self.training else 1.0
        return num_patches - math.ceil(ratio * num_hidden_blocks) * patches_per_block

    def decode_together(self, hidden_states: torch.Tensor, first: int) -> torch.Tensor:
        """Let all tokens look at each other; of the last layer no more than the tokens from `first` on are needed."""
        for layer in self.decoder_layers[:-1]:
            hidden_states = layer(hidden_states)
        return self.decoder_layers[-1](hidden_states, changed=slice(first, None))


class LensMAEPooledNorm(nn.BatchNorm1d):
    """Batch norm of pooled features, without weights. A batch of one has no statistics and uses the running ones."""

    def __init__(self, num_features: int):
        super().__init__(num_features, affine=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.training and features.shape[0] > 1:
            return super().forward(features)
        return nn.functional.batch_norm(features, self.running_mean, self.running_var, eps=self.eps)


class LensMAEUpsamplerBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection, without norms: flux stays flux."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.conv1 = nn.Conv2d(config.sr_hidden_size, config.sr_hidden_size, 3, padding=1)
        self.conv2 = nn.Conv2d(config.sr_hidden_size, config.sr_hidden_size, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.conv2(nn.functional.relu(self.conv1(features)))


class LensMAEResidualUpsampler(nn.Module):
    """A convolutional path at low resolution, which the encoder joins, then one PixelShuffle.

    Both the encoder's projection and the last convolution start at zero, so the network starts as its skip connection
    and the encoder joins from nothing.
    """

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.upscale = config.upscale
        width = config.sr_hidden_size
        self.token_projection = LensMAELinear(
            config.sr_decoder_hidden_size, config.patch_size**2 * config.sr_encoder_channels
        )
        self.conv_in = nn.Conv2d(config.num_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList([LensMAEUpsamplerBlock(config) for _ in range(config.sr_num_blocks)])
        self.fusion = nn.Conv2d(width + config.sr_encoder_channels, width, 3, padding=1)
        self.tail = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, config.num_channels * config.upscale**2, 3, padding=1)
        self.token_projection.starts_at_zero = True
        self.conv_out.starts_at_zero = True

    def forward(self, tokens: torch.Tensor, grid_size: tuple[int, int], pixel_values: torch.Tensor) -> torch.Tensor:
        height, width = pixel_values.shape[2:]
        encoded = from_patches(self.token_projection(tokens), self.patch_size, grid_size)[..., :height, :width]
        shallow = self.conv_in(to_channels_last(pixel_values))
        deep = shallow
        for block in self.blocks:
            deep = block(deep)
        deep = self.fusion(torch.cat([deep, to_channels_last(encoded)], dim=1))
        deep = nn.functional.relu(self.tail(deep) + shallow)
        return nn.functional.pixel_shuffle(self.conv_out(deep), self.upscale)


class LensMAEStagedUpsampler(nn.Module):
    """Tokens through four stages of 3x3 convolution, PixelShuffle and GELU, then a bilinear resize.

    The head of the fine-tunes that stay below bicubic: every pixel has to pass through the vector of one token, and
    resizing with aligned corners shifts the image. Kept so that the recipe can be run and beaten.
    """

    num_stages = 4

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        self.upscale = config.upscale
        widths = [config.sr_decoder_hidden_size // 2**stage for stage in range(self.num_stages + 1)]
        self.stages = nn.ModuleList(
            [nn.Conv2d(width, 4 * next_width, 3, padding=1) for width, next_width in pairwise(widths)]
        )
        self.conv_out = nn.Conv2d(widths[-1], config.num_channels, 3, padding=1)

    def forward(self, tokens: torch.Tensor, grid_size: tuple[int, int], pixel_values: torch.Tensor) -> torch.Tensor:
        features = tokens.transpose(1, 2).unflatten(2, grid_size)
        for stage in self.stages:
            features = nn.functional.gelu(nn.functional.pixel_shuffle(stage(features), 2))
        size = [side * self.upscale for side in pixel_values.shape[2:]]
        return self.conv_out(nn.functional.interpolate(features, size=size, mode="bilinear", align_corners=True))


class LensMAESuperResolutionHead(nn.Module):
    """Transformer layers of their own over the encoder's patch tokens, then the upsampler."""

    def __init__(self, config: LensMAEConfig):
        super().__init__()
        layer_config = deepcopy(config)
        layer_config.hidden_size = config.sr_decoder_hidden_size
        layer_config.num_attention_heads = config.sr_decoder_num_attention_heads
        layer_config.intermediate_size = 4 * config.sr_decoder_hidden_size
        self.bridge = LensMAELinear(config.hidden_size, config.sr_decoder_hidden_size)
        self.layers = nn.ModuleList([LensMAELayer(layer_config) for _ in range(config.sr_decoder_num_hidden_layers)])
        self.norm = nn.LayerNorm(config.sr_decoder_hidden_size, eps=config.layer_norm_eps)
        self.upsampler = (
            LensMAEResidualUpsampler(config) if config.sr_head == "residual" else LensMAEStagedUpsampler(config)
        )

    def forward(self, tokens: torch.Tensor, grid_size: tuple[int, int], pixel_values: torch.Tensor) -> torch.Tensor:
        tokens = self.bridge(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.upsampler(self.norm(tokens), grid_size, pixel_values)


@auto_docstring
class LensMAEPreTrainedModel(PreTrainedModel):
    config: LensMAEConfig
    base_model_prefix = "lens_mae"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["LensMAEEmbeddings", "LensMAELayer", "LensMAEDecoder", "LensMAESuperResolutionHead"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": LensMAELayer, "attentions": LensMAEAttention}
    _input_embed_layer = "patch_embeddings"
    # Losses are means over a batch. By the `**kwargs` of `forward`, Trainer would take them for sums over the batches
    # it accumulates, and over processes.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module):
        # Models outside of transformers are asked only about modules with weights of their own, so what a parent knows
        # about its children stands on the children: their class, or `starts_at_zero`.
        super()._init_weights(module)
        if isinstance(module, LensMAEPositions):
            init.copy_(module.table, module.compute(module.grid_size))
        elif isinstance(module, LensMAELearnedPositions):
            init.trunc_normal_(module.table, std=self.config.initializer_range)
        elif isinstance(module, LensMAEEmbeddings) and module.cls_token is not None:
            init.normal_(module.cls_token, std=self.config.initializer_range)
        elif isinstance(module, LensMAEDecoder):
            init.normal_(module.mask_token, std=self.config.initializer_range)
        elif isinstance(module, LensMAEPatchProjection):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if getattr(module, "starts_at_zero", False):
            init.zeros_(module.weight)

    def post_init(self):
        """Finish the construction: initialise weights, then freeze what the configuration says."""
        super().post_init()
        self._apply_frozen_part()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load a checkpoint as every transformers model does, and freeze again what was frozen when it was saved.

        Weights are read from safetensors only: a pickle, such as `pytorch_model.bin`, can run any code.
        """
        if kwargs.get("use_safetensors") is False or kwargs.get("weights_only") is False:
            raise ValueError(
                "LensMAE loads no pickles, for they can run any code: leave out `use_safetensors=False` and "
                "`weights_only=False`."
            )
        kwargs["use_safetensors"] = True
        try:
            loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except OSError as error:
            if "file named model.safetensors" not in str(error):
                raise
            raise OSError(
                f"{pretrained_model_name_or_path} has no model.safetensors. If its weights are in a pickle, such as "
                "pytorch_model.bin, LensMAE does not load that, for it can run any code: ask its author to save it "
                "again with `save_pretrained`."
            ) from error
        # Loading makes new parameters, all of which require gradients. With `output_loading_info` a tuple comes back.
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._apply_frozen_part()
        return loaded

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, *args: Any, **kwargs: Any):
        # An index of shards may name files of any kind, whatever `use_safetensors` says.
        for file in checkpoint_files or []:
            if not str(file).endswith(".safetensors"):
                raise OSError(
                    f"The index of the weights names {os.path.basename(file)}: LensMAE loads safetensors alone, for a "
                    "pickle can run any code. Ask its author to save the checkpoint again with `save_pretrained`."
                )
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any):
        """Save the checkpoint as every transformers model does, so that each Auto class finds its own model in it."""
        self.config.auto_map = dict(_AUTO_MAP)
        super().save_pretrained(save_directory, *args, **kwargs)

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any):
        # What `push_to_hub` sends at last. A model as it was loaded from a run's folder takes along what lies there.
        _copy_what_lies_beside(Path(self.name_or_path), Path(working_dir), repo_id)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any):
        """As transformers' own, in the decoder and in the layers of super-resolution as well."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        for module in self.modules():
            if isinstance(module, LensMAEAttention):  # whose configuration is a copy with other widths
                module.config._attn_implementation = self.config._attn_implementation

    def freeze_patch_embeddings(self):
        """Keep the stem, its batch statistics included, as it is; also when the checkpoint is saved and loaded."""
        self._freeze("patch_embeddings")

    def freeze_encoder(self):
        """Keep the whole encoder, its batch statistics included, as it is; also after saving and loading."""
        self._freeze("encoder")

    def unfreeze(self):
        """Let every part be trained again."""
        self.config.frozen_part = None
        self.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True):
        """Switch to training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        frozen = self._get_frozen_module()
        if frozen is not None:
            # Batch norm would move its running statistics in training mode, and with them the encoder's output.
            nn.Module.train(frozen, False)
        return self

    def _get_frozen_module(self) -> nn.Module | None:
        if self.config.frozen_part == "encoder":
            return self.base_model
        if self.config.frozen_part == "patch_embeddings":
            return self.base_model.embeddings.patch_embeddings
        return None

    def _freeze(self, part: str):
        frozen = self._get_frozen_module()
        if frozen is not None:
            frozen.requires_grad_(True)
        self.config.frozen_part = part
        self._apply_frozen_part()
        self.train(self.training)

    def _apply_frozen_part(self):
        frozen = self._get_frozen_module()
        if frozen is not None:
            frozen.requires_grad_(False)
            nn.Module.train(frozen, False)


@auto_docstring(
    custom_intro="""
    The bare LensMAE encoder: patch tokens, and one vector an image. It sees every patch unless asked to mask.
    """
)
class LensMAEModel(LensMAEPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = [
        *(r"^decoder\.", r"^imprint_head\.", r"^norm\.", r"^classifier\.", r"^super_resolution\."),
    ]

    def __init__(self, config: LensMAEConfig):
        # Every head makes this model first.
        _refuse_hostile_config(config)
        super().__init__(config)
        self.embeddings = LensMAEEmbeddings(config)
        self.layers = nn.ModuleList([LensMAELayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        mask_ratio: float | None = None,
        pooled_only: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> LensMAEModelOutput:
        r"""
        noise (`torch.Tensor` of shape `(batch_size, num_blocks)`, *optional*):
            Fixes which blocks are hidden: those with the largest numbers. Needs `mask_ratio`.
        mask_ratio (`float`, *optional*):
            Fraction of the blocks to hide, in [0, 1). By default nothing is hidden.
        pooled_only (`bool`, *optional*, defaults to `False`):
            Whether nothing but `pooler_output` is wanted. Where that is the class token, the last layer then makes no
            other, and `last_hidden_state` has that one alone.

        Example:

        ```python
        >>> import torch
        >>> from lens_transformers import LensMAEConfig, LensMAEModel

        >>> model = LensMAEModel(LensMAEConfig.from_size("tiny")).eval()
        >>> outputs = model(torch.rand(2, 1, 75, 75))
        >>> list(outputs.last_hidden_state.shape)
        [2, 100, 128]
        ```"""
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        if noise is not None and mask_ratio is None:
            raise ValueError("`noise` says which blocks to hide, but without `mask_ratio` none is hidden.")
        hidden_states, mask, ids_restore = self.embeddings(pixel_values, noise=noise, mask_ratio=mask_ratio)
        wanted = slice(0, 1) if pooled_only and self.config.pooling == "cls" else slice(None)
        for number, layer in enumerate(self.layers, start=1):
            changed = wanted if number == len(self.layers) else slice(None)
            hidden_states = layer(hidden_states, changed=changed, **kwargs)
        hidden_states = self.layernorm(hidden_states)
        return LensMAEModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=self.pool(hidden_states),
            mask=mask,
            ids_restore=ids_restore,
        )

    def pool(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Pool the tokens of an image into one vector, as `config.pooling` says.

        Args:
            hidden_states: Tokens of shape `(batch_size, sequence_length, hidden_size)`, the class token first if
                there is one.

        Returns:
            Vectors of shape `(batch_size, hidden_size)`, or `(batch_size, 3 * hidden_size)` for `"mean_std_max"`.
        """
        if self.config.pooling == "cls":
            return hidden_states[:, 0]
        patches = hidden_states[:, 1:] if self.config.use_cls_token else hidden_states
        mean = patches.mean(dim=1)
        if self.config.pooling == "mean":
            return mean
        # Not torch.std: its gradient is infinite where all tokens are equal.
        deviation = ((patches - mean[:, None]).square().mean(dim=1) + self.config.layer_norm_eps).sqrt()
        return torch.cat([mean, deviation, patches.amax(dim=1)], dim=1)


@auto_docstring(
    custom_intro="""
    LensMAE with the decoder that predicts hidden patches, for self-supervised pretraining. Also called `LensMAE`.
    """
)
class LensMAEForPreTraining(LensMAEPreTrainedModel):
    # Without weight in the loss there is no head for the imprint.
    _keys_to_ignore_on_load_unexpected = [r"^imprint_head\.", r"^norm\.", r"^classifier\.", r"^super_resolution\."]

    def __init__(self, config: LensMAEConfig):
        super().__init__(config)
        self.lens_mae = LensMAEModel(config)
        self.decoder = LensMAEDecoder(config)
        self.imprint_head = None
        if config.imprint_loss_weight:
            self.imprint_head = LensMAELinear(config.hidden_size, config.patch_size**2 * config.num_channels)

        self.post_init()

    def patchify(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Cut images into the patches that the decoder predicts, padding them to whole blocks first.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
                Images.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_patches, patch_size ** 2 * num_channels)`:
                Patches, row by row.
        """
        padded = pad_to_blocks(_checked_images(pixel_values, self.config.num_channels), self.config.mask_block_size)
        return to_patches(padded, self.config.patch_size)

    def unpatchify(self, patches: torch.Tensor, original_image_size: tuple[int, int] | None = None) -> torch.Tensor:
        """Put patches together and cut off the padding: the inverse of `patchify`.

        Args:
            patches (`torch.Tensor` of shape `(batch_size, num_patches, patch_size ** 2 * num_channels)`):
                Patches, row by row.
            original_image_size (`tuple[int, int]`, *optional*):
                Height and width of the images; those of the configuration by default.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_channels, height, width)`:
                Images.
        """
        height, width = original_image_size or self.config.image_height_width
        grid_size = self._padded_grid(height, width)
        if patches.shape[1] != grid_size[0] * grid_size[1]:
            raise ValueError(
                f"An image of {height}x{width} pixels has {grid_size[0]}x{grid_size[1]} patches, but "
                f"{patches.shape[1]} were given."
            )
        return from_patches(patches, self.config.patch_size, grid_size)[..., :height, :width]

    def reconstruct(self, pixel_values: torch.Tensor, outputs: LensMAEForPreTrainingOutput) -> torch.Tensor:
        """Paste the predicted patches among the visible pixels.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`):
                Images that the model was given.
            outputs (`LensMAEForPreTrainingOutput`):
                What it made of them.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_channels, height, width)`:
                Images, in the scale of `pixel_values`.
        """
        target = self.patchify(pixel_values)
        predicted = outputs.logits.to(target.dtype)
        if self.config.norm_pix_loss:
            mean, deviation = _patch_statistics(target)
            predicted = predicted * deviation + mean
        patches = torch.where(outputs.mask[..., None].bool(), predicted, target)
        return self.unpatchify(patches, tuple(pixel_values.shape[2:]))

    def _padded_grid(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = patch_grid((height, width), self.config.patch_size)
        return _round_up(rows, self.config.mask_unit_size), _round_up(columns, self.config.mask_unit_size)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        mask_ratio: float | None = None,
        imprint: torch.Tensor | None = None,
        return_loss: bool = True,
        **kwargs: Unpack[TransformersKwargs],
    ) -> LensMAEForPreTrainingOutput:
        r"""
        imprint (`torch.FloatTensor`, *optional*):
            What substructure changes in the images, of their shape, as the image processor scales it. It counts for
            the loss with `config.imprint_loss_weight`.
        noise (`torch.Tensor` of shape `(batch_size, num_blocks)`, *optional*):
            Fixes which blocks are hidden: those with the largest numbers.
        mask_ratio (`float`, *optional*):
            Fraction of the blocks to hide, in [0, 1). Defaults to `config.mask_ratio`.
        return_loss (`bool`, *optional*, defaults to `True`):
            Whether to compute the loss.

        Example:

        ```python
        >>> import torch
        >>> from lens_transformers import LensMAE, LensMAEConfig

        >>> model = LensMAE(LensMAEConfig.from_size("tiny")).eval()
        >>> images = torch.rand(2, 1, 64, 64)
        >>> outputs = model(images)
        >>> list(model.reconstruct(images, outputs).shape)
        [2, 1, 64, 64]
        ```"""
        outputs: LensMAEModelOutput = self.lens_mae(
            pixel_values,
            noise=noise,
            mask_ratio=self.config.mask_ratio if mask_ratio is None else mask_ratio,
            **kwargs,
        )
        grid_size = patch_grid(pixel_values.shape[2:], self.config.patch_size)
        patch_order = outputs.ids_restore.argsort(dim=1)
        is_nothing_hidden = outputs.last_hidden_state.shape[1] == patch_order.shape[1] + self.config.use_cls_token
        if is_nothing_hidden and (return_loss or self.training):
            raise ValueError(
                "No block of these images is hidden, so there is nothing to predict: give a larger `mask_ratio` or "
                "larger images."
            )
        pixels, predicted = self.decoder(outputs.last_hidden_state, patch_order, grid_size)
        loss = None
        if return_loss:
            # Of what is predicted alone: the rest would be most of the pixels, and count for nothing.
            loss = self._reconstruction_loss(pixel_values, pixels, outputs.mask.gather(1, predicted), predicted)
        imprint_logits = None
        if self.imprint_head is not None:
            tokens = outputs.last_hidden_state[:, 1:] if self.config.use_cls_token else outputs.last_hidden_state
            predicted_imprint, visible = self.imprint_head(tokens), patch_order[:, : tokens.shape[1]]
            imprint_logits = _scatter_patches(predicted_imprint, visible, patch_order.shape[1])
            if return_loss and imprint is not None:
                if imprint.shape != pixel_values.shape:
                    raise ValueError(
                        f"`imprint` must have the shape of `pixel_values`; its own is {tuple(imprint.shape)}."
                    )
                everywhere = predicted_imprint.new_ones(visible.shape)
                loss = loss + self._imprint_loss(imprint, predicted_imprint, everywhere, visible)
        return LensMAEForPreTrainingOutput(
            loss=loss,
            logits=_scatter_patches(pixels, predicted, patch_order.shape[1]),
            mask=outputs.mask,
            ids_restore=outputs.ids_restore,
            imprint_logits=imprint_logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _reconstruction_loss(
        self,
        pixel_values: torch.Tensor,
        logits: torch.Tensor,
        mask: torch.Tensor,
        patches: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # `logits` and `mask` are those of `patches`, `(batch_size, some)`, or of all.
        target = _take_patches(self.patchify(pixel_values), patches)
        if self.config.norm_pix_loss:
            mean, deviation = _patch_statistics(target)
            target = (target - mean) / deviation
        return self._mean_over_patches((logits - target).square(), mask, pixel_values.shape[2:], patches)

    def _imprint_loss(
        self,
        imprint: torch.Tensor,
        logits: torch.Tensor,
        mask: torch.Tensor,
        patches: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # As above; `mask` is 1 where a patch is visible.
        error = ((logits - _take_patches(self.patchify(imprint), patches)) / self.config.imprint_std).square()
        return self.config.imprint_loss_weight * self._mean_over_patches(error, mask, imprint.shape[2:], patches)

    def _mean_over_patches(
        self, error: torch.Tensor, mask: torch.Tensor, image_size: torch.Size, patches: torch.Tensor | None
    ) -> torch.Tensor:
        block_size = self.config.mask_block_size
        height, width = image_size
        if height % block_size == 0 and width % block_size == 0:
            return (error.mean(dim=-1) * mask).sum() / mask.sum()
        # Padding is not part of the image, and does not count.
        inside = error.new_ones(error.shape[0], self.config.num_channels, height, width)
        inside = nn.functional.pad(inside, (0, -width % block_size, 0, -height % block_size))
        weights = _take_patches(to_patches(inside, self.config.patch_size), patches) * mask[..., None]
        return (error * weights).sum() / weights.sum()


@auto_docstring(
    custom_intro="""
    LensMAE with a linear classifier of the pooled tokens, for instance by the kind of dark matter. Before its first
    training step it holds all classes for equally likely.
    """
)
class LensMAEForClassification(LensMAEPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^imprint_head\.", r"^super_resolution\."]

    def __init__(self, config: LensMAEConfig):
        super().__init__(config)
        self.loss_type = "ForImageClassification"
        self.num_labels = config.num_labels
        self.lens_mae = LensMAEModel(config)
        if config.pooling == "mean_std_max":
            pooled_size = 3 * config.hidden_size
            self.norm = LensMAEPooledNorm(pooled_size)
        else:
            pooled_size = config.hidden_size
            self.norm = nn.LayerNorm(pooled_size, eps=config.layer_norm_eps)
        self.classifier = nn.Linear(pooled_size, config.num_labels)
        # Drawn at random, it would first have to unlearn noise, and hold the encoder on a plateau meanwhile; masked
        # autoencoders are fine-tuned so (He et al. 2022, arXiv:2111.06377, with weights of 2e-5).
        self.classifier.starts_at_zero = True

        self.post_init()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageClassifierOutput:
        r"""
        labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
            Class of each image, from 0 to `config.num_labels - 1`.
        """
        shows_states = kwargs.get("output_hidden_states", self.config.output_hidden_states)
        shows_tokens = shows_states or kwargs.get("output_attentions", self.config.output_attentions)
        outputs: LensMAEModelOutput = self.lens_mae(pixel_values, pooled_only=not shows_tokens, **kwargs)
        logits = self.classifier(self.norm(outputs.pooler_output))
        loss = None
        if labels is not None:
            labels = self._checked_labels(labels)
            loss = self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def _checked_labels(self, labels: torch.Tensor) -> torch.Tensor:
        if self.num_labels == 1 or self.config.problem_type in ("regression", "multi_label_classification"):
            return labels
        if labels.is_floating_point():
            # Of floats transformers makes a problem of several labels an image, and keeps that in the configuration.
            raise ValueError(
                f"Labels must be class numbers from 0 to {self.num_labels - 1}, whole numbers; these are "
                f"{labels.dtype}. For several labels an image set `config.problem_type` to "
                "'multi_label_classification'."
            )
        # On an accelerator the check would wait for the device; in a compiled graph it would break the graph.
        is_checked = labels.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_checked and ((labels < 0) | (labels >= self.num_labels)).any():
            raise ValueError(
                f"Labels must be class numbers from 0 to {self.num_labels - 1} (`num_labels={self.num_labels}`); "
                f"these range from {labels.min()} to {labels.max()}."
            )
        return labels.long()


@auto_docstring(
    custom_intro="""
    LensMAE with a head that upsamples lens images `config.upscale` times. Takes pixels in flux, gives pixels in flux,
    and is bicubic upsampling, bit for bit, before its first training step.
    """
)
class LensMAEForSuperResolution(LensMAEPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^imprint_head\.", r"^norm\.", r"^classifier\."]

    def __init__(self, config: LensMAEConfig):
        super().__init__(config)
        self.lens_mae = LensMAEModel(config)
        self.super_resolution = LensMAESuperResolutionHead(config)

        self.post_init()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageSuperResolutionOutput:
        r"""
        labels (`torch.FloatTensor`, *optional*):
            High-resolution images of shape `(batch_size, num_channels, height * upscale, width * upscale)`, in the
            flux unit of `pixel_values`.

        Example:

        ```python
        >>> import torch
        >>> from lens_transformers import LensMAEConfig, LensMAEForSuperResolution

        >>> model = LensMAEForSuperResolution(LensMAEConfig.from_size("tiny", upscale=2)).eval()
        >>> list(model(torch.rand(1, 1, 75, 75)).reconstruction.shape)
        [1, 1, 150, 150]
        ```"""
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        pixel_values = _checked_images(pixel_values, self.config.num_channels)
        config = self.config
        mean, deviation = _per_band(config.sr_pixel_mean, pixel_values), _per_band(config.sr_pixel_std, pixel_values)
        standardized = (pixel_values - mean) / deviation
        encoder_input = standardized
        if config.sr_encoder_stretch is not None:
            stretched = torch.arcsinh(pixel_values / config.sr_encoder_stretch)
            encoder_mean = _per_band(config.sr_encoder_mean, pixel_values)
            encoder_input = (stretched - encoder_mean) / _per_band(config.sr_encoder_std, pixel_values)

        outputs: LensMAEModelOutput = self.lens_mae(encoder_input, **kwargs)
        tokens = outputs.last_hidden_state[:, 1:] if config.use_cls_token else outputs.last_hidden_state
        height, width = pixel_values.shape[2:]
        grid_size = patch_grid((height, width), config.patch_size)
        residual = self.super_resolution(tokens, grid_size, standardized.to(tokens.dtype))
        # Flux spans more decades than half precision holds: the sum is made in float32.
        reconstruction = residual.float() * deviation
        if config.sr_skip:
            reconstruction = reconstruction + upsample_bicubic(pixel_values, config.upscale)
        elif config.sr_head == "residual":
            reconstruction = reconstruction + mean

        loss = None
        if labels is not None:
            loss = self._loss(reconstruction, labels, deviation)
        return ImageSuperResolutionOutput(
            loss=loss,
            reconstruction=reconstruction,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(
        self, reconstruction: torch.Tensor, labels: torch.Tensor, deviation: float | torch.Tensor
    ) -> torch.Tensor:
        if labels.shape != reconstruction.shape:
            raise ValueError(
                f"`labels` must have the shape of the upsampled images, {tuple(reconstruction.shape)} for "
                f"`upscale={self.config.upscale}`, not {tuple(labels.shape)}."
            )
        return pixel_losses((reconstruction - labels) / deviation, self.config.sr_loss).mean()


def pixel_losses(error: torch.Tensor, kind: str) -> torch.Tensor:
    """What each pixel adds to the loss of super-resolution.

    Args:
        error: Differences in units of `sr_pixel_std`, of shape `(batch_size, num_channels, height, width)`.
        kind: The `sr_loss` of the configuration.
    """
    if kind == "mse":
        return error.square()
    if kind == "l1":
        return error.abs()
    # Charbonnier: a smooth L1 (Lai et al. 2017, arXiv:1704.03915).
    return (error.square() + 1e-4).sqrt()


def upsample_bicubic(pixel_values: torch.Tensor, upscale: int) -> torch.Tensor:
    """Bicubic upsampling in float32, with a = -0.75 and pixel areas aligned: the baseline of super-resolution.

    Args:
        pixel_values: Images of shape `(batch_size, num_channels, height, width)`.
        upscale: Whole factor by which both sides grow.

    Returns:
        Images of shape `(batch_size, num_channels, height * upscale, width * upscale)`.
    """
    return nn.functional.interpolate(
        pixel_values.float(), scale_factor=float(upscale), mode="bicubic", align_corners=False
    )


# More layers, or numbers in weights and position tables together, than any real checkpoint has: the largest named size
# has 24 and 3.3e8.
_MAX_LAYERS = 1000
_MAX_NUMBERS = 10**10


def _refuse_hostile_config(config: LensMAEConfig):
    """Refuse a configuration that is meant to do harm, before memory is taken or a file is read for it."""
    auto_map = getattr(config, "auto_map", None) or {}
    for reference in auto_map.values() if isinstance(auto_map, dict) else [auto_map]:
        # Downloaded from the Hub, `module.Class` becomes `org/name--module.Class`.
        if not re.fullmatch(r"(?:\w[\w.-]*(?:/\w[\w.-]*)?--)?[^\W\d]\w*\.[^\W\d]\w*", str(reference)):
            raise ValueError(f"`auto_map` must map to `module.Class` of the checkpoint's own code, not {reference!r}.")
    weights = getattr(config, "transformers_weights", None)
    if weights is not None and not re.fullmatch(r"\w[\w.-]*\.safetensors(?:\.index\.json)?", str(weights)):
        raise ValueError(f"`transformers_weights` must name a safetensors file beside the config, not {weights!r}.")
    layers = max(config.num_hidden_layers, config.decoder_num_hidden_layers, config.sr_decoder_num_hidden_layers)
    if max(layers, config.sr_num_blocks) > _MAX_LAYERS:
        raise ValueError(
            f"This configuration asks for {max(layers, config.sr_num_blocks)} layers; that is no LensMAE."
        )
    widths = (config.hidden_size, config.decoder_hidden_size, config.sr_decoder_hidden_size)
    mlp_width = max(config.intermediate_size, config.decoder_intermediate_size, 4 * config.sr_decoder_hidden_size)
    height, width = config.image_height_width
    patch_pixels = config.patch_size**2 * config.num_channels
    numbers = (
        layers * max(widths) * (4 * max(widths) + 2 * mlp_width)
        + (height * width // config.patch_size**2 + patch_pixels + 3 * config.num_labels) * max(widths)
        + 100 * config.stem_hidden_size * (config.stem_hidden_size + config.num_channels)
        + 18 * config.sr_num_blocks * config.sr_hidden_size**2
        + 9 * config.sr_hidden_size * (config.sr_encoder_channels + config.upscale**2 * config.sr_hidden_size)
    )
    if numbers > _MAX_NUMBERS:
        raise ValueError(
            f"This configuration asks for about {numbers:.0e} numbers in memory, above the limit of "
            f"{_MAX_NUMBERS:.0e}; that is no LensMAE."
        )


def without_paths(value: Any) -> Any:
    """The same values, but of every absolute path only the name: where somebody's files lie is nobody's business."""
    if isinstance(value, dict):
        return {without_paths(key): without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _copy_what_lies_beside(source: Path, target: Path, repo_id: str):
    """Complete a folder of saved weights from the one that they were loaded from, if they are still the same."""
    weights = sorted(path.name for path in target.glob("model*.safetensors"))
    if not weights or not all(
        (source / name).is_file() and filecmp.cmp(source / name, target / name, shallow=False) for name in weights
    ):
        return
    for name in ("preprocessor_config.json", "image_processing_lens_mae.py"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
    for figure in source.glob("figures/*.png"):
        (target / "figures").mkdir(exist_ok=True)
        shutil.copy(figure, target / "figures" / figure.name)
    if (source / "results.json").is_file():  # of which the card can be renewed
        results = without_paths(json.loads((source / "results.json").read_text(encoding="utf-8")))
        (target / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    card, other_card = source / "README.md", target / "README.md"
    # A card that was on the Hub already stays; transformers' empty form makes way.
    if card.is_file() and "has been automatically generated" in other_card.read_text(encoding="utf-8"):
        text = card.read_bytes().decode("utf-8")
        if named := re.search(r'^checkpoint = "(.*?)"', text, flags=re.MULTILINE):
            for argument in ("checkpoint = ", "model="):
                text = text.replace(f'{argument}"{named[1]}"', f'{argument}"{repo_id}"')
        other_card.write_bytes(text.encode("utf-8"))


def _take_patches(values: torch.Tensor, patches: torch.Tensor | None) -> torch.Tensor:
    if patches is None:
        return values
    return values.gather(1, patches[..., None].expand(-1, -1, values.shape[-1]))


def _scatter_patches(values: torch.Tensor, patches: torch.Tensor, num_patches: int) -> torch.Tensor:
    everywhere = values.new_zeros(values.shape[0], num_patches, values.shape[-1])
    return everywhere.scatter(1, patches[..., None].expand_as(values), values)


def _patch_statistics(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, (patches.var(dim=-1, keepdim=True) + 1.0e-6).sqrt()


def _per_band(value: float | list[float], pixel_values: torch.Tensor) -> float | torch.Tensor:
    if isinstance(value, list):
        return pixel_values.new_tensor(value).view(1, -1, 1, 1)
    return value


LensMAE = LensMAEForPreTraining

# Every checkpoint names all of these, so that each Auto class finds its model in any of them where only transformers
# is installed.
_AUTO_MAP = {
    "AutoConfig": "configuration_lens_mae.LensMAEConfig",
    "AutoModel": "modeling_lens_mae.LensMAEModel",
    "AutoModelForPreTraining": "modeling_lens_mae.LensMAEForPreTraining",
    "AutoModelForImageClassification": "modeling_lens_mae.LensMAEForClassification",
    "AutoModelForImageToImage": "modeling_lens_mae.LensMAEForSuperResolution",
}
LensMAEConfig.register_for_auto_class("AutoConfig")
LensMAEModel.register_for_auto_class("AutoModel")
LensMAEForPreTraining.register_for_auto_class("AutoModelForPreTraining")
LensMAEForClassification.register_for_auto_class("AutoModelForImageClassification")
LensMAEForSuperResolution.register_for_auto_class("AutoModelForImageToImage")


__all__ = [
    "LensMAE",
    "LensMAEForClassification",
    "LensMAEForPreTraining",
    "LensMAEForSuperResolution",
    "LensMAEModel",
    "LensMAEPreTrainedModel",
]
