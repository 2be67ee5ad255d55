"""Pretrain LensMAE: hide most blocks of each lens image and learn to paint them.

    python training/run_mae.py --dataset lenses --output_dir runs/pretrain --max_steps 2000
    accelerate launch training/run_mae.py training/recipes/lens_default/pretrain.yaml --dataset lenses ...
    python training/run_mae.py --dataset simulate:lens_default --streaming True --max_steps 20000 --output_dir ...
    python training/run_mae.py --dataset "simulate:lens_default?imprint=1" --output_dir runs/pretrain ...
    python training/run_mae.py ... --train_classes no_sub --mask_ratio_start 0.5 --figure_epochs 10

Leaves a Hub-ready folder whose `results.json` has the error on hidden pixels beside that of two fillings that need no
training; and, trained on some classes alone, how well each of them tells the other classes by that error. Where images
come with the imprint of their substructure, as simulated ones can, every visible token learns to predict that as well,
and its error stands beside that of predicting none.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line import DataArguments, EncoderArguments, LensTrainingArguments, launch, parse_arguments
from datasets import Dataset
from loop import RunTrainer, set_up
from matplotlib.figure import Figure
from networks import make_collators, make_config, make_image_processor, make_model, some_images
from results import curves_of, predict, print_rows, save_figure, save_run
from splits import describe_data, load_splits, name_training_images
from streams import EndlessPasses
from time_budget import limit_steps
from transformers import TrainerCallback

from lens_transformers import LensMAEForPreTraining, LensMAEImageProcessor
from lens_transformers.data import LABEL_NAMES, LensDataCollator, MaskedCollator
from lens_transformers.evaluation import AnomalyMetric
from lens_transformers.evaluation.bootstrap import average_with_intervals
from lens_transformers.evaluation.inpainting import FILLINGS
from lens_transformers.evaluation.reconstruction import (
    MASK_RATIOS,
    check_blocks,
    imprints_in_flux,
    in_flux,
    masked_errors,
)
from lens_transformers.report.loading import sample
from lens_transformers.visualization import plot_imprints, plot_reconstructions


logger = logging.getLogger(__name__)

NUM_FIGURE_ROWS = 4
# Test images among which there are some with substructure.
NUM_SEARCHED = 50
# Rows among which a stream of stored images is shuffled; simulated ones come at random.
BUFFER_SIZE = 1000
# The row of whoever says that substructure changes nothing.
NO_IMPRINT = "No imprint"
# Images of a stream, which may have to be simulated, that the image processor's constants are measured on.
NUM_MEASURED_OF_STREAM = 256


@dataclass
class PretrainingDataArguments(DataArguments):
    """Which images to train and test on."""

    streaming: bool = field(
        default=False,
        metadata={"help": "Read, or simulate, training images while training, without end. Needs --max_steps."},
    )
    train_classes: list[str] | None = field(
        default=None,
        metadata={"help": "Train on these classes alone, such as no_sub, and measure how the others stand out."},
    )


@dataclass
class PretrainingArguments(LensTrainingArguments):
    """transformers' arguments, with defaults that suit lens images, and what the scripts add to them."""

    mask_ratio: float | None = field(
        default=None, metadata={"help": "Share of the blocks to hide. Default: that of the configuration, 0.75."}
    )
    mask_ratio_start: float | None = field(
        default=None,
        metadata={"help": "Begin to train with this share, and come to mask_ratio in a straight line."},
    )
    prediction_ratio: float | None = field(
        default=None,
        metadata={
            "help": "Share of the hidden blocks that a step predicts, such as 0.25, by a decoder that costs less. "
            "Default: that of the configuration; of a new one, all of them by the decoder of ViT-MAE."
        },
    )
    # With as little as the 1 of the hidden pixels, an encoder of few steps learns too little of it.
    imprint_loss_weight: float = field(
        default=8.0,
        metadata={
            "help": "What the loss of the imprint of substructure counts, where images come with one; images that "
            "come without count nothing."
        },
    )
    figure_epochs: int = field(
        default=0,
        metadata={"help": "Draw reconstructions of the same test images every so many epochs; 0 is at the end alone."},
    )

    def __post_init__(self):
        super().__post_init__()
        if self.mask_ratio_start is not None and not 0 < self.mask_ratio_start < 1:
            raise ValueError(f"--mask_ratio_start must be above 0 and below 1, got {self.mask_ratio_start}.")


def main() -> None:
    data_arguments, model_arguments, arguments = parse_arguments(
        PretrainingDataArguments, EncoderArguments, PretrainingArguments
    )
    if data_arguments.streaming and arguments.figure_epochs:
        raise ValueError("--figure_epochs: a stream has no epochs; leave it out, or --streaming.")
    set_up(arguments, model_arguments)
    splits = load_splits(data_arguments, "pretraining", data_arguments.streaming, choosing=arguments.chooses)
    if data_arguments.train_classes is not None:
        splits.train = keep_classes(splits.train, data_arguments.train_classes)
        if splits.validation is not None:
            splits.validation = keep_classes(splits.validation, data_arguments.train_classes)
        if "label" not in splits.test.features:
            raise ValueError("--train_classes needs the class of every test image, which these do not all have.")
    splits.look_for_duplicates()
    if data_arguments.streaming and not data_arguments.dataset.startswith("simulate:"):
        # Readers of several shards at once would take seconds to start, at every pass.
        splits.train = splits.train.shuffle(seed=arguments.seed, buffer_size=BUFFER_SIZE, max_buffer_input_shards=1)
    train, validation, test = splits.train, splits.validation, splits.test
    measured = {"num_samples": NUM_MEASURED_OF_STREAM} if data_arguments.streaming else {}
    image_processor = make_image_processor(model_arguments, train, **measured)
    if image_processor.normalization == "min_max":
        raise ValueError(
            "--image_processor_overrides: with normalization min_max what was painted has no flux, in which it is "
            "measured: take arcsinh."
        )
    ratios = {"mask_ratio": arguments.mask_ratio, "prediction_ratio": arguments.prediction_ratio}
    settings = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if "imprint" in train.features:
        imprints = some_images(train, column="imprint", **measured)
        if arguments.imprint_loss_weight and (imprints.any() or data_arguments.train_classes is None):
            settings |= settings_of_imprint(image_processor, imprints, arguments)
        else:
            logger.info("The imprints of substructure are left out: there are none to learn, or they have no weight.")
            train, test, validation = map(without_imprint, (train, test, validation))
    # Of a checkpoint that has learned imprints, the head would stay behind the encoder.
    settings.setdefault("imprint_loss_weight", 0.0)
    config = make_config(model_arguments, num_channels=train.features["image"].shape[0], **settings)
    first = image_processor(some_images(train, 1), return_tensors="pt").pixel_values
    check_blocks(config, first.shape[2:])
    model = make_model(LensMAEForPreTraining, model_arguments, config)

    collator, eval_collator = make_collators(image_processor, data_arguments, "pretraining", arguments.seed)
    masked_collator = MaskedCollator(eval_collator, config.mask_block_size)
    trainer = PretrainingTrainer(
        model=model,
        args=arguments,
        train_dataset=EndlessPasses(train) if data_arguments.streaming else train,
        eval_dataset=test if validation is None else validation,
        data_collator=collator,
        eval_collator=masked_collator,
        name_rows=partial(name_training_images, data_arguments, "pretraining", train),
        processing_class=image_processor,
    )
    if arguments.figure_epochs:
        trainer.add_callback(ReconstructionFigures(trainer, test, masked_collator, image_processor))
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    errors, (images, masks, painted) = measure(trainer, test, masked_collator, image_processor)
    rows: list[dict[str, Any]] = [
        {"name": name, "split": "test", **average_with_intervals(values)} for name, values in errors.items()
    ]
    if data_arguments.train_classes is not None:
        for row, values in zip(rows, errors.values(), strict=True):
            at_training = values.get(f"masked_mse_{config.mask_ratio:g}")
            if at_training is None:
                continue
            scores = score_anomalies(at_training, np.asarray(test["label"][:]), data_arguments.train_classes)
            row["intervals"] |= scores.pop("intervals")
            row |= scores
    print_rows(rows, [key for key in rows[0] if key.startswith(("masked_mse", "imprint_mse", "anomaly_auc"))])
    figures = {
        "reconstructions": plot_reconstructions(images, masks, painted),
        **curves_of(trainer),
    }
    if "imprint_mse" in rows[0]:
        figures["imprints"] = draw_imprints(trainer, test, eval_collator, image_processor)
    data = describe_data(data_arguments, splits)
    save_run(trainer, image_processor, "pretraining", data, rows, metrics, figures, model_arguments)


class PretrainingTrainer(RunTrainer):
    """A Trainer of masked autoencoders, whose mask ratio may change while it trains."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss, at the mask ratio of this step."""
        if model.training and self.args.mask_ratio_start is not None:
            start, end = self.args.mask_ratio_start, self.accelerator.unwrap_model(model).config.mask_ratio
            done = self.state.global_step / self.state.max_steps
            inputs = {**inputs, "mask_ratio": start + (end - start) * done}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def score_images(self, inputs, outputs):
        """The loss of each image."""
        model, pixel_values = self.model, inputs["pixel_values"]
        losses = []
        for index in range(len(pixel_values)):
            one = slice(index, index + 1)
            loss = model._reconstruction_loss(pixel_values[one], outputs.logits[one], outputs.mask[one])
            if "imprint" in inputs and outputs.imprint_logits is not None:
                visible = 1 - outputs.mask[one]
                loss = loss + model._imprint_loss(inputs["imprint"][one], outputs.imprint_logits[one], visible)
            losses.append(loss)
        return {"loss": torch.stack(losses)}


class ReconstructionFigures(TrainerCallback):
    """Draws reconstructions of the first test images, with the same blocks hidden, while training goes on."""

    def __init__(
        self,
        trainer: PretrainingTrainer,
        test: Dataset,
        collator: MaskedCollator,
        image_processor: LensMAEImageProcessor,
    ):
        self.trainer = trainer
        self.batch = collator(list(test.select(range(min(NUM_FIGURE_ROWS, len(test))))))
        self.image_processor = image_processor

    def on_epoch_end(self, args, state, control, model, **kwargs):
        """Draws every `figure_epochs` epochs; a random state is not touched, so the run is as without figures."""
        # The last step, and a signal, end an epoch that is not whole as well.
        if state.epoch % args.figure_epochs:
            return
        batch = {name: value.to(args.device) for name, value in self.batch.items()}
        model = self.trainer.evaluated_model()
        was_training = model.training
        # In all processes: each may hold but a shard of the network.
        with torch.no_grad():
            outputs = model.eval()(**batch)
        model.train(was_training)
        if not state.is_world_process_zero:
            return
        figure = plot_reconstructions(*in_flux(model, batch["pixel_values"], outputs, self.image_processor))
        save_figure(figure, Path(args.output_dir), f"reconstructions_epoch_{round(state.epoch):04d}")


def keep_classes(train: Any, names: Sequence[str]) -> Any:
    """Keep the images of some classes.

    Raises:
        ValueError: If a class is not known, or the images have no labels.
    """
    if not set(names) <= set(LABEL_NAMES):
        raise ValueError(f"--train_classes {' '.join(names)}: the classes are {', '.join(LABEL_NAMES)}.")
    if "label" not in train.features:
        raise ValueError("--train_classes needs the class of every image, which these do not all have.")
    kept = [LABEL_NAMES.index(name) for name in names]
    if not isinstance(train, Dataset):
        return train.filter(partial(_is_of_class, kept))
    return train.select(np.flatnonzero(np.isin(train["label"][:], kept)))


def _is_of_class(kept: Sequence[int], row: Mapping[str, Any]) -> bool:
    return int(row["label"]) in kept


def without_imprint(images: Any) -> Any:
    """Images, if there are any, without that column."""
    return images.remove_columns("imprint") if images is not None and "imprint" in images.features else images


def settings_of_imprint(
    image_processor: LensMAEImageProcessor, imprints: np.ndarray, arguments: PretrainingArguments
) -> dict[str, float]:
    """What the configuration says of the imprint of substructure, which is measured on `imprints`.

    Raises:
        ValueError: If there is nothing in them.
    """
    if not imprints.any():
        raise ValueError(
            f"In none of {len(imprints)} training images does substructure leave an imprint: --imprint_loss_weight 0 "
            "leaves that column out."
        )
    # No imprint at all has a value of its own in each band.
    scaled = image_processor(imprints, return_tensors="pt").pixel_values
    deviation = (scaled - scaled.mean(dim=(0, 2, 3), keepdim=True)).std().item()
    return {"imprint_loss_weight": arguments.imprint_loss_weight, "imprint_std": deviation}


def measure(
    trainer: PretrainingTrainer, test: Dataset, collator: MaskedCollator, image_processor: LensMAEImageProcessor
) -> tuple[dict[str, dict[str, np.ndarray]], Any]:
    """Hide blocks of the test images, the same in every run, and paint them again, in flux.

    Returns:
        By the name of what painted, `masked_mse_<ratio>` at each mask ratio: the mean squared error on the hidden
        pixels of each image `(images,)`; where there are imprints, `imprint_mse` on the visible ones, at the
        ratio of training; and images, masks and reconstructions to show, at that ratio.
    """
    model: Any = trainer.model
    trained_at = model.config.mask_ratio
    errors: dict[str, dict[str, np.ndarray]] = {name: {} for name in ("LensMAE", *FILLINGS)}
    imprint_parts: dict[str, list[np.ndarray]] = {}
    shown: list[np.ndarray] = []
    for ratio in sorted({*MASK_RATIOS, trained_at}):
        parts: dict[str, list[np.ndarray]] = {name: [] for name in errors}
        words = f"Reconstructing, {ratio:g} hidden"
        for batch, outputs in predict(trainer, test, collator, words, mask_ratio=ratio):
            images, masks, painted = in_flux(model, batch["pixel_values"], outputs, image_processor)
            filled = {"LensMAE": painted, **{name: fill(images, masks) for name, fill in FILLINGS.items()}}
            for name, pixels in filled.items():
                parts[name].append(masked_errors(pixels, images, masks))
            if ratio == trained_at and not shown:
                shown = [part[:NUM_FIGURE_ROWS] for part in (images, masks, painted)]
            if ratio == trained_at and "imprint" in batch and outputs.imprint_logits is not None:
                predicted, imprint = imprints_in_flux(model, batch["imprint"], outputs, image_processor)
                for name, guess in {"LensMAE": predicted, NO_IMPRINT: np.zeros_like(imprint)}.items():
                    imprint_parts.setdefault(name, []).append(masked_errors(guess, imprint, ~masks))
        for name, values in parts.items():
            errors[name][f"masked_mse_{ratio:g}"] = np.concatenate(values)
    for name, values in imprint_parts.items():
        errors.setdefault(name, {})["imprint_mse"] = np.concatenate(values)
    return errors, shown


def draw_imprints(
    trainer: PretrainingTrainer, test: Dataset, collator: LensDataCollator, image_processor: Any
) -> Figure:
    """The imprints of some test images that have one, and what the network makes of the whole images."""
    searched = sample(test, NUM_SEARCHED)
    imprints = searched["imprint"][:]
    chosen = np.argsort(np.abs(imprints).max(axis=(1, 2, 3)) == 0, kind="stable")[:NUM_FIGURE_ROWS]
    parts = []
    whole = {"mask_ratio": 0.0, "return_loss": False}
    for batch, outputs in predict(trainer, searched.select(chosen), collator, "Drawing imprints", **whole):
        images = image_processor.post_process_reconstruction(batch["pixel_values"]).numpy()
        predicted, imprints = imprints_in_flux(trainer.model, batch["imprint"], outputs, image_processor)
        parts.append((images, imprints, predicted))
    images, imprints, predicted = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return plot_imprints(images, imprints, predicted)


def score_anomalies(errors: np.ndarray, labels: np.ndarray, train_classes: Sequence[str]) -> dict[str, Any]:
    """How well the error of reconstruction tells each class that was not trained on from those that were.

    Args:
        errors: Of each image, `(images,)`.
        labels: Class of each image.
        train_classes: Names of the classes trained on.

    Returns:
        `anomaly_auc_<class>` and `anomaly_precision_at_1_percent_<class>` by `AnomalyMetric`, of the images of that
        class among those of the classes trained on; and `intervals` of both.
    """
    known = np.isin(labels, [LABEL_NAMES.index(name) for name in train_classes])
    row: dict[str, Any] = {"intervals": {}}
    for index, name in enumerate(LABEL_NAMES):
        chosen = known | (labels == index)
        if name not in train_classes and (labels == index).any() and known.any():
            scores = AnomalyMetric().compute(predictions=errors[chosen], references=labels[chosen] == index)
            intervals = scores.pop("intervals")
            row |= {f"anomaly_{metric}_{name}": value for metric, value in scores.items()}
            row["intervals"] |= {f"anomaly_{metric}_{name}": interval for metric, interval in intervals.items()}
    return row


if __name__ == "__main__":
    launch(main)
