"""A masked autoencoder, evaluated: the error on hidden pixels beside two fillings, reconstructions, embeddings."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from ..data import LABEL_NAMES, LensDataCollator, MaskedCollator
from ..evaluation import ReconstructionMetric, reconstruction_rows
from ..evaluation.explanation import explain
from ..evaluation.reconstruction import MASK_RATIOS, in_flux, masked_errors
from ..visualization import plot_attention_maps, plot_embedding, plot_lenses, plot_reconstructions
from .evaluated import NUM_WORST, Evaluation, Images, embed, parameter_figures, worst_table
from .loading import sample
from .representation import describe_representation


# Harmonic interpolation solves a system of equations an image.
_MAX_IMAGES = 512
_MAX_EMBEDDED = 1000
_FEWEST_A_CLASS = 10
_BATCH_SIZE = 64
_NUM_SHOWN = 4
# At which images are compared, of whatever ratio a network was trained with.
_SCORED_RATIO = 0.75


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
    split = evaluation.split
    evaluation.results["data"]["num_test"] = len(few)
    rows: dict[str, dict[str, Any]] = {}
    if images.are_own:
        # What is not measured here, such as the imprint of substructure and how errors single out classes.
        for row in evaluation.results["rows"]:
            rows[row["name"]] = {**row, "intervals": dict(row.get("intervals", {}))}
    for ratio in MASK_RATIOS:
        flux, masks, painted = reconstruct(model, image_processor, few, ratio)
        metric = ReconstructionMetric().compute(predictions=painted, references=flux, masks=masks)
        own = {"name": evaluation.results["model"]["name"], "split": split, **metric}
        for row in (own, *reconstruction_rows(flux, masks, split)):
            merged = rows.setdefault(row["name"], {"name": row["name"], "split": split, "intervals": {}})
            merged[f"masked_mse_{ratio:g}"] = row["masked_mse"]
            merged["intervals"][f"masked_mse_{ratio:g}"] = row["intervals"]["masked_mse"]
        if ratio == _SCORED_RATIO:
            evaluation.scores, evaluation.score_name = masked_errors(painted, flux, masks), f"masked MSE at {ratio:g}"
            shown = slice(_NUM_SHOWN)
            evaluation.figures["reconstructions"] = plot_reconstructions(
                flux[shown], masks[shown], painted[shown], evaluation.pixel_scale
            )
    evaluation.results["rows"] = list(rows.values())
    if not in_full:
        return

    figures = evaluation.figures
    embedded = sample(test, _MAX_EMBEDDED)
    embeddings = embed(model, image_processor, embedded)
    labels = embedded["label"][:] if "label" in embedded.column_names else None
    if len(embedded) > 2:  # of fewer there is no map
        figures["embedding_map"] = plot_embedding(embeddings, labels, LABEL_NAMES)
    train = None if images.train is None else sample(images.train, _MAX_EMBEDDED)
    if train is not None and _has_classes(train) and _has_classes(embedded):
        flux, masks, painted = reconstruct(model, image_processor, embedded, model.config.mask_ratio)
        errors = masked_errors(painted, flux, masks)
        describe_representation(evaluation, model, image_processor, train, embedded, embeddings, errors)
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
    model: Any, image_processor: Any, dataset: Dataset, mask_ratio: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hides blocks of images, the same that every training hides to evaluate, and paints them again, in flux.

    Args:
        model: A `LensMAEForPreTraining`.
        image_processor: Its image processor.
        dataset: Images.
        mask_ratio: Fraction of the blocks to hide.

    Returns:
        Images and reconstructions `(images, bands, height, width)`, and masks `(images, height, width)`, true where a
        pixel was hidden.
    """
    collator = MaskedCollator(LensDataCollator(image_processor, "pretraining"), model.config.mask_block_size)
    parts: list[tuple[np.ndarray, ...]] = []
    for collated in DataLoader(dataset.select_columns("image"), _BATCH_SIZE, collate_fn=collator):
        batch = {name: value.to(model.device) for name, value in collated.items()}
        with torch.inference_mode():
            outputs = model(**batch, mask_ratio=mask_ratio)
            parts.append(in_flux(model, batch["pixel_values"], outputs, image_processor))
    images, masks, reconstructions = (np.concatenate(part) for part in zip(*parts, strict=True))
    return images, masks, reconstructions


def _has_classes(dataset: Dataset) -> bool:
    """Whether there are images enough of each class to find neighbours among."""
    if "label" not in dataset.column_names:
        return False
    return bool(np.bincount(dataset["label"][:], minlength=len(LABEL_NAMES)).min() >= _FEWEST_A_CLASS)
