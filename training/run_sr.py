"""Fine-tune LensMAE, or train it from scratch, to super-resolve lens images 2, 3 or 4 times.

    python training/run_sr.py --dataset pairs --model_name_or_path runs/pretrain --output_dir runs/sr
    accelerate launch training/run_sr.py training/recipes/sr_deeplense/train.yaml --dataset pairs ...
    python training/run_sr.py ... --self_ensemble True --save_outputs fits

Leaves a Hub-ready folder whose `results.json` has the network's row beside bicubic, bilinear and a fitted linear
filter.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line import DataArguments, LensTrainingArguments, ModelArguments, launch, parse_arguments
from datasets import Dataset
from layer_decay import group_by_rate, learning_rate_scales
from loop import RunTrainer, set_up
from networks import load_image_processor, make_collators, make_config, make_model, some_images
from outputs import check_coordinates, save_output
from results import curves_of, full_precision_model, predict, print_rows, save_run
from splits import describe_data, list_test_files, load_splits, name_training_images
from time_budget import limit_steps
from transformers import AutoConfig, PreTrainedModel
from transformers.training_args import OptimizerNames

from lens_transformers import LensMAEForSuperResolution, LensMAEImageProcessor
from lens_transformers.data import LensDataCollator
from lens_transformers.data.images import flux_of_white
from lens_transformers.evaluation import (
    LeastSquaresDownsampler,
    SuperResolutionMetric,
    average_over_symmetries,
    bicubic_upsample,
    upsampling_rows,
)
from lens_transformers.evaluation.super_resolution import unit_range
from lens_transformers.models.lens_mae.modeling_lens_mae import pixel_losses
from lens_transformers.report.loading import make_fits_layout, sample
from lens_transformers.visualization import plot_super_resolution


NUM_FIGURE_ROWS = 3
NUM_FILTER_PAIRS = 600
# Test images whose range of brightness is looked at together.
NUM_RANGED = 500


@dataclass
class SuperResolutionArguments(DataArguments):
    """Which pairs to train and test on."""

    filter_size: int = field(
        default=9, metadata={"help": "Width, in input pixels, of the least-squares filter beside the network."}
    )
    data_range: float | None = field(
        default=None,
        metadata={"help": "Range of brightness that PSNR and SSIM refer to. Default: 1, for targets within [0, 1]."},
    )
    self_ensemble: bool = field(
        default=False,
        metadata={"help": "Measure the mean over the eight symmetries of each image as well, and save that."},
    )
    save_outputs: str = field(
        default="none",
        metadata={
            "help": "Write the test images, super-resolved, to super_resolved/: none, npy, or fits with coordinates.",
            "choices": ["none", "npy", "fits"],
        },
    )

    def __post_init__(self):
        super().__post_init__()
        if self.filter_size < 1 or self.filter_size % 2 == 0:
            raise ValueError(f"--filter_size must be odd, got {self.filter_size}.")
        if self.data_range is not None and not 0 < self.data_range < float("inf"):
            raise ValueError(f"--data_range must be a brightness above 0, got {self.data_range}.")
        check_coordinates(self.save_outputs, make_fits_layout(self.fits_layout))


@dataclass
class SuperResolutionTrainingArguments(LensTrainingArguments):
    """transformers' arguments, with defaults that suit lens images, and a time budget."""

    sr_loss: str = field(
        default="charbonnier", metadata={"help": "Loss of training.", "choices": ["charbonnier", "l1", "mse"]}
    )
    consistency_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the mean distance of the input from the output, blurred and binned as the training "
            "pairs are. In noisy images it asks for the noise as well."
        },
    )
    encoder_learning_rate_scale: float = field(
        default=0.3, metadata={"help": "The encoder's learning rate, in parts of the head's."}
    )

    def __post_init__(self):
        super().__post_init__()
        optim = OptimizerNames(self.optim)
        if optim not in (OptimizerNames.ADAMW_TORCH, OptimizerNames.ADAMW_TORCH_FUSED):
            raise ValueError(f"--optim {optim.value}: run_sr.py trains by AdamW, with a rate for the encoder, alone.")


def main(model_class: type[PreTrainedModel] = LensMAEForSuperResolution) -> None:
    """Trains; or, in a benchmark, another network of the same configuration, inputs and outputs."""
    data_arguments, model_arguments, arguments = parse_arguments(
        SuperResolutionArguments, ModelArguments, SuperResolutionTrainingArguments
    )
    set_up(arguments, model_arguments)
    splits = load_splits(data_arguments, "super_resolution", choosing=arguments.chooses)
    splits.look_for_duplicates()
    train, validation, test = splits.train, splits.validation, splits.test
    upscale, tested_upscale = find_upscale(train), find_upscale(test)
    if tested_upscale != upscale:
        raise ValueError(
            f"{data_arguments.test_dataset or data_arguments.dataset}: the targets to test on are {tested_upscale} "
            f"times as wide as their images, those to train on {upscale} times."
        )
    if data_arguments.data_range is None:
        parts = test.select_columns("target").with_format("numpy").iter(NUM_RANGED)
        data_arguments.data_range = max(unit_range(torch.from_numpy(part["target"])) for part in parts)
    # Flux goes in and flux comes out: the network has its own constants, and stretches pixels for the encoder itself.
    image_processor = LensMAEImageProcessor(
        normalization="none",
        num_bands=train.features["image"].shape[0],
        white_flux=flux_of_white(some_images(train)),
    )
    config = make_config(
        model_arguments,
        num_channels=train.features["image"].shape[0],
        upscale=upscale,
        sr_loss=arguments.sr_loss,
        **flux_constants(train, model_arguments),
    )
    model = make_model(model_class, model_arguments, config)
    pairs = sample(train, NUM_FILTER_PAIRS)

    collator, eval_collator = make_collators(image_processor, data_arguments, "super_resolution", arguments.seed)
    trainer = SuperResolutionTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=test if validation is None else validation,
        data_collator=collator,
        eval_collator=eval_collator,
        name_rows=partial(name_training_images, data_arguments, "super_resolution", train),
        processing_class=image_processor,
        downsampler=fit_downsampler(pairs, config.upscale) if arguments.consistency_weight else None,
        data_range=data_arguments.data_range,
    )
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    originals = None
    if data_arguments.save_outputs != "none":
        originals = list_test_files(data_arguments, "super_resolution", splits.drawn)
    rows, shown = measure(trainer, test, image_processor, data_arguments, originals)
    rows += upsampling_rows(
        pairs["image"][:],
        pairs["target"][:],
        test["image"][:],
        test["target"][:],
        size=data_arguments.filter_size,
        data_range=data_arguments.data_range,
    )
    print_rows(rows, ["psnr", "ssim", "mse", "flux_ratio"])
    low, prediction, target = (images[:NUM_FIGURE_ROWS].numpy() for images in shown)
    figures = {
        "super_resolution": plot_super_resolution(low, bicubic_upsample(low, config.upscale), prediction, target),
        **curves_of(trainer),
    }
    data = {**describe_data(data_arguments, splits), "data_range": data_arguments.data_range}
    save_run(trainer, image_processor, "super_resolution", data, rows, metrics, figures, model_arguments)


class SuperResolutionTrainer(RunTrainer):
    """A Trainer that can ask of an output that, blurred and binned again, it is the input."""

    scores = ("loss", "psnr")

    def __init__(self, *args: Any, downsampler: LeastSquaresDownsampler | None, data_range: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.data_range = data_range
        self.downsampler = downsampler
        self.deviation = torch.tensor(self.model.config.sr_pixel_std).reshape(-1, 1, 1)

    def create_optimizer(self, model=None):
        """AdamW with a learning rate for the encoder."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model, self.args, self.get_decay_parameter_names(self.model))
        return super().create_optimizer(model)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of the network, and what `--consistency_weight` adds."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.downsampler is not None:
            term = inconsistency(self.downsampler, outputs.reconstruction, inputs["pixel_values"], self.deviation)
            loss = loss + self.args.consistency_weight * term
        return (loss, outputs) if return_outputs else loss

    def score_images(self, inputs, outputs):
        """The loss of training, without consistency, and the PSNR of each image."""
        error = (outputs.reconstruction - inputs["labels"]).float()
        squares = error.flatten(1).square().mean(dim=1)
        loss = pixel_losses(error / self.deviation.to(error), self.model.config.sr_loss).flatten(1).mean(dim=1)
        return {"loss": loss, "psnr": 10 * torch.log10(self.data_range**2 / squares)}


def fit_downsampler(pairs: Dataset, upscale: int) -> LeastSquaresDownsampler:
    """What blurs and bins sharp images as the pairs are."""
    return LeastSquaresDownsampler(upscale=upscale).fit(pairs["image"][:], pairs["target"][:])


def inconsistency(
    downsampler: LeastSquaresDownsampler, sharp: torch.Tensor, low: torch.Tensor, deviation: torch.Tensor
) -> torch.Tensor:
    """Mean distance of sharp images, blurred and binned, from those of low resolution, in units of the deviation.

    Args:
        downsampler: What blurs and bins.
        sharp: `(batch, bands, height * upscale, width * upscale)`.
        low: `(batch, bands, height, width)`.
        deviation: That of the flux, `(bands or 1, 1, 1)`.
    """
    residual = downsampler(sharp) - downsampler.interior(low)
    return (residual / deviation.to(residual)).abs().mean()


def measure(
    trainer: SuperResolutionTrainer,
    test: Dataset,
    image_processor: LensMAEImageProcessor,
    arguments: SuperResolutionArguments,
    originals: list[str] | None,
) -> tuple[list[dict[str, Any]], list[torch.Tensor]]:
    """Super-resolve the test images, and write them if asked for, named as their files if they have any.

    Returns:
        The network's rows, and the first batch of images, outputs and targets.
    """
    collator = LensDataCollator(image_processor, "super_resolution")
    model = full_precision_model(trainer)

    @torch.inference_mode()
    def sharpen(images: torch.Tensor) -> torch.Tensor:
        return model(images.to(model.device)).reconstruction.cpu()

    single, ensemble = (SuperResolutionMetric(arguments.data_range) for _ in range(2))
    shown: list[torch.Tensor] = []
    layout = make_fits_layout(arguments.fits_layout)
    num_done = 0
    for batch, outputs in predict(trainer, test, collator, "Super-resolving"):
        low, sharp, target = batch["pixel_values"], outputs.reconstruction, batch["labels"]
        single.add_batch(predictions=sharp, references=target)
        shown = shown or [low, sharp, target]
        if arguments.self_ensemble:
            sharp = average_over_symmetries(sharpen, low, gives_images=True)
            ensemble.add_batch(predictions=sharp, references=target)
        if arguments.save_outputs != "none":
            folder = Path(str(trainer.args.output_dir)) / "super_resolved"
            for number, image in enumerate(sharp.numpy(), start=num_done):
                original = None if originals is None else originals[number]
                save_output(folder, image, number, original, model.config.upscale, arguments.save_outputs, layout)
        num_done += len(sharp)
    name = type(model).__name__.partition("For")[0]
    rows = [{"name": name, "split": "test", **single.compute()}]
    if arguments.self_ensemble:
        rows.append({"name": f"{name}, mean over the eight symmetries", "split": "test", **ensemble.compute()})
    return rows, shown


def find_upscale(pairs: Dataset) -> int:
    """The whole factor between the sides of targets and images.

    Raises:
        ValueError: If no network super-resolves by it.
    """
    upscale = pairs.features["target"].shape[1] // pairs.features["image"].shape[1]
    if upscale not in (2, 3, 4):
        raise ValueError(f"The targets are {upscale} times as wide as the images; LensMAE does 2 to 4.")
    return upscale


def flux_constants(
    train: Dataset, arguments: ModelArguments, num_samples: int = 500
) -> dict[str, float | list[float]]:
    """The constants of the network: mean and deviation of the flux, and what a pretrained encoder is used to."""
    if arguments.model_name_or_path is not None:
        checkpoint = AutoConfig.from_pretrained(arguments.model_name_or_path)
        if LensMAEForSuperResolution.__name__ in (checkpoint.architectures or ()):
            return {}  # what it has learned is in its own constants
    images = some_images(train, num_samples).astype(np.float64)
    constants = {
        "sr_pixel_mean": images.mean(axis=(0, 2, 3)).tolist(),
        "sr_pixel_std": images.std(axis=(0, 2, 3)).tolist(),
    }
    if arguments.model_name_or_path is not None:
        pretraining = load_image_processor(arguments.model_name_or_path)
        mean, deviation = _as_list(pretraining.image_mean), _as_list(pretraining.image_std)
        if pretraining.normalization == "arcsinh":
            constants.update(sr_encoder_stretch=pretraining.stretch, sr_encoder_mean=mean, sr_encoder_std=deviation)
        elif pretraining.normalization == "standardize":
            constants.update(sr_pixel_mean=mean, sr_pixel_std=deviation)
        elif pretraining.normalization == "none":
            constants.update(sr_pixel_mean=0.0, sr_pixel_std=1.0)
        else:
            raise ValueError(
                f"{arguments.model_name_or_path} was pretrained on images of normalization "
                f"{pretraining.normalization}, by which super-resolution would lose their flux: pretrain with arcsinh."
            )
    return constants


def _as_list(value) -> list[float]:
    return [float(number) for number in np.atleast_1d(value)]


def make_optimizer(
    model: PreTrainedModel, arguments: SuperResolutionTrainingArguments, decayed: Collection[str]
) -> torch.optim.Optimizer:
    """AdamW with a learning rate of its own for the encoder, and decay of the parameters that are `decayed`."""
    scales = {
        name: scale * (arguments.encoder_learning_rate_scale if name.startswith("lens_mae.") else 1.0)
        for name, scale in learning_rate_scales(model, arguments.layer_decay).items()
    }
    return torch.optim.AdamW(
        group_by_rate(model, arguments, scales, decayed),
        lr=arguments.learning_rate,  # a schedule to a smallest rate reads it
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
    )


if __name__ == "__main__":
    launch(main)
