"""A masked autoencoder, evaluated: the error on hidden pixels beside two fillings, reconstructions, embeddings."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from ..data import LABEL_NAMES
from ..evaluation import ReconstructionMetric, reconstruction_rows
from ..evaluation.explanation import explain
from ..visualization import plot_attention_maps, plot_embedding, plot_lenses, plot_reconstructions
from .evaluated import NUM_WORST, Evaluation, Images, embed, parameter_figures, sample, worst_table


MASK_RATIOS = (0.5, 0.75, 0.9)
# Harmonic interpolation solves a system of equations an image.
_MAX_IMAGES = 512
_MAX_EMBEDDED = 1000
_BATCH_SIZE = 64
_NUM_SHOWN = 4


def evaluate_autoencoder(
    evaluation: Evaluation, model: Any, image_processor: Any, images: Images, *, in_full: bool
) -> None:
    """Fills in an evaluation: its row and those of its baselines at each mask ratio; figures and tables.

    The baselines are measured anew: they must see the same blocks hidden as the network.

    Args:
        evaluation: What is filled in.
        model: A `LensMAEForPreTraining`.
        image_processor: Its image processor.
        images: Images.
        in_full: Whether to look at single images, parameters, embeddings and attention as well.
    """
    test = images.test
    few = sample(test, _MAX_IMAGES)
    split = evaluation.results["data"]["split"]
    evaluation.results["data"]["num_test"] = len(few)
    # The blocks that training hid from the same images, so that its numbers come out again.
    seed = evaluation.results["training"].get("seed", 0)
    rows: dict[str, dict[str, Any]] = {}
    for ratio in MASK_RATIOS:
        flux, masks, painted = reconstruct(model, image_processor, few, ratio, seed)
        metric = ReconstructionMetric().compute(predictions=painted, references=flux, masks=masks)
        own = {"name": evaluation.results["model"]["name"], "split": split, **metric}
        for row in (own, *reconstruction_rows(flux, masks, split)):
            merged = rows.setdefault(row["name"], {"name": row["name"], "split": split})
            merged[f"masked_mse_{ratio:g}"] = row["masked_mse"]
        if ratio == model.config.mask_ratio or not len(evaluation.scores):
            squares = ((painted - flux) ** 2).mean(axis=1)
            errors = squares.sum(axis=(1, 2), where=masks) / masks.sum(axis=(1, 2))
            evaluation.scores, evaluation.score_name = errors, f"masked MSE at {ratio:g}"
            shown = slice(_NUM_SHOWN)
            evaluation.figures["reconstructions"] = plot_reconstructions(
                flux[shown], masks[shown], painted[shown], evaluation.pixel_scale
            )
    evaluation.results["rows"] = list(rows.values())
    if not in_full:
        return

    figures = evaluation.figures
    embedded = sample(test, _MAX_EMBEDDED)
    labels = embedded["label"][:] if "label" in embedded.column_names else None
    figures["embedding_map"] = plot_embedding(embed(model, image_processor, embedded), labels, LABEL_NAMES)
    first = few.select(range(min(_NUM_SHOWN, len(few))))["image"][:]
    pixel_values = image_processor(list(first), return_tensors="pt").pixel_values
    rollout = explain(model.base_model, pixel_values, "attention_rollout")
    figures["attention_maps"] = plot_attention_maps(
        first, {"attention rollout": rollout}, pixel_scale=evaluation.pixel_scale
    )
    figures |= parameter_figures(few, evaluation.scores, evaluation.score_name)
    worst = np.argsort(-evaluation.scores, kind="stable")[:NUM_WORST]
    titles = [f"{evaluation.scores[index]:.2e}" for index in worst]
    figures["worst_ten"] = plot_lenses(few.select(worst)["image"][:], titles, evaluation.pixel_scale)
    evaluation.tables.append(worst_table(few, worst, {evaluation.score_name: evaluation.scores[worst].tolist()}))


def reconstruct(
    model: Any, image_processor: Any, dataset: Dataset, mask_ratio: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hides blocks of images, the same for every network with such blocks, and paints them again, in flux.

    Args:
        model: A `LensMAEForPreTraining`.
        image_processor: Its image processor.
        dataset: Images.
        mask_ratio: Fraction of the blocks to hide.
        seed: Seed of the draw of blocks.

    Returns:
        Images and reconstructions `(images, bands, height, width)`, and masks `(images, height, width)`, true where a
        pixel was hidden.
    """
    generator = torch.Generator().manual_seed(seed)
    block_size, pixels_of_patch = model.config.mask_block_size, model.config.patch_size**2 * model.config.num_channels
    parts: list[tuple[torch.Tensor, ...]] = []
    for first in range(0, len(dataset), _BATCH_SIZE):
        batch = dataset.select(range(first, min(first + _BATCH_SIZE, len(dataset))))["image"][:]
        pixel_values = image_processor(list(batch), return_tensors="pt").pixel_values.to(model.device)
        height, width = pixel_values.shape[2:]
        num_blocks = -(-height // block_size) * -(-width // block_size)
        noise = torch.rand(len(batch), num_blocks, generator=generator).to(model.device)
        with torch.inference_mode():
            outputs = model(pixel_values, noise=noise, mask_ratio=mask_ratio)
            painted = model.reconstruct(pixel_values, outputs)
        mask = model.unpatchify(outputs.mask[..., None].expand(-1, -1, pixels_of_patch), (height, width))[:, 0]
        flux = image_processor.post_process_reconstruction
        parts.append((flux(pixel_values).cpu(), mask.bool().cpu(), flux(painted).cpu()))
    images, masks, reconstructions = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return images, masks, reconstructions
