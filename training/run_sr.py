"""Fine-tune LensMAE, or train it from scratch, to super-resolve lens images.

    python training/run_sr.py --dataset pairs --model_name_or_path runs/pretrain --output_dir runs/sr
    accelerate launch training/run_sr.py training/recipes/demo/sr.yaml --dataset pairs --output_dir runs/sr

Leaves a Hub-ready folder whose `results.json` has the network's row beside bicubic, bilinear and a fitted linear
filter.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from common import (
    DataArguments,
    LensTrainingArguments,
    ModelArguments,
    describe_data,
    limit_steps,
    load_splits,
    make_config,
    make_model,
    parse_arguments,
    predict,
    print_rows,
    save_run,
    set_up,
)
from datasets import Dataset
from transformers import AutoImageProcessor

from lens_transformers import LensMAEForSuperResolution, LensMAEImageProcessor
from lens_transformers.data import LensDataCollator
from lens_transformers.evaluation import SuperResolutionMetric, bicubic_upsample, upsampling_rows
from lens_transformers.hub.trainer import LensTrainer
from lens_transformers.visualization import plot_super_resolution, plot_training_curves


NUM_FIGURE_ROWS = 3
NUM_FILTER_PAIRS = 600


@dataclass
class SuperResolutionArguments(DataArguments):
    """Which pairs to train and test on."""

    filter_size: int = field(
        default=9, metadata={"help": "Width, in input pixels, of the least-squares filter beside the network."}
    )
    data_range: float = field(default=1.0, metadata={"help": "Range of brightness that PSNR and SSIM refer to."})


@dataclass
class SuperResolutionTrainingArguments(LensTrainingArguments):
    """transformers' arguments, with defaults that suit lens images, and a time budget."""

    encoder_learning_rate_scale: float = field(
        default=0.3, metadata={"help": "The encoder's learning rate, in parts of the head's."}
    )


def main() -> None:
    data_arguments, model_arguments, arguments = parse_arguments(
        SuperResolutionArguments, ModelArguments, SuperResolutionTrainingArguments
    )
    set_up(arguments)
    train, test = load_splits(data_arguments, "super_resolution")
    # Flux goes in and flux comes out: the network has its own constants, and stretches pixels for the encoder itself.
    image_processor = LensMAEImageProcessor(normalization="none", num_bands=train.features["image"].shape[0])
    config = make_config(
        model_arguments,
        num_channels=train.features["image"].shape[0],
        upscale=find_upscale(train),
        **flux_constants(train, model_arguments),
    )
    model = make_model(LensMAEForSuperResolution, model_arguments, config)

    trainer = LensTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=test,
        data_collator=LensDataCollator(image_processor, "super_resolution", data_arguments.augmentation),
        optimizers=(make_optimizer(model, arguments), None),
    )
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    collator = LensDataCollator(image_processor, "super_resolution")
    metric = SuperResolutionMetric(data_arguments.data_range)
    shown: list[torch.Tensor] = []
    for batch, outputs in predict(trainer, test, collator, "Super-resolving"):
        metric.add_batch(predictions=outputs.reconstruction, references=batch["labels"])
        shown = shown or [batch["pixel_values"], outputs.reconstruction, batch["labels"]]
    pairs = train.select(range(min(NUM_FILTER_PAIRS, len(train))))
    rows = [
        {"name": "LensMAE", "split": "test", **metric.compute()},
        *upsampling_rows(
            pairs["image"][:],
            pairs["target"][:],
            test["image"][:],
            test["target"][:],
            size=data_arguments.filter_size,
            data_range=data_arguments.data_range,
        ),
    ]
    print_rows(rows, ["psnr", "ssim", "mse", "flux_ratio"])
    low, prediction, target = (images[:NUM_FIGURE_ROWS].numpy() for images in shown)
    figures = {
        "super_resolution": plot_super_resolution(low, bicubic_upsample(low, config.upscale), prediction, target),
        "training_curves": plot_training_curves(trainer.state.log_history),
    }
    data = describe_data(data_arguments, train, test)
    save_run(trainer, image_processor, "super_resolution", data, rows, metrics, figures, model_arguments)


def find_upscale(pairs: Dataset) -> int:
    """The whole factor between the sides of targets and images."""
    return pairs.features["target"].shape[1] // pairs.features["image"].shape[1]


def flux_constants(
    train: Dataset, arguments: ModelArguments, num_samples: int = 500
) -> dict[str, float | list[float]]:
    """The constants of the network: mean and deviation of the flux, and the stretch that the encoder is used to."""
    images = np.asarray(train.select(range(min(num_samples, len(train))))["image"][:], dtype=np.float64)
    constants = {
        "sr_pixel_mean": images.mean(axis=(0, 2, 3)).tolist(),
        "sr_pixel_std": images.std(axis=(0, 2, 3)).tolist(),
    }
    if arguments.model_name_or_path is not None:
        pretraining = AutoImageProcessor.from_pretrained(arguments.model_name_or_path)
        if pretraining.normalization == "arcsinh":
            constants.update(
                sr_encoder_stretch=pretraining.stretch,
                sr_encoder_mean=_as_list(pretraining.image_mean),
                sr_encoder_std=_as_list(pretraining.image_std),
            )
    return constants


def _as_list(value) -> list[float]:
    return [float(number) for number in np.atleast_1d(value)]


def make_optimizer(
    model: LensMAEForSuperResolution, arguments: SuperResolutionTrainingArguments
) -> torch.optim.Optimizer:
    """AdamW with a learning rate of its own for the encoder, and no decay of biases and norms."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = arguments.encoder_learning_rate_scale if name.startswith("lens_mae.") else 1.0
            decay = arguments.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((scale * arguments.learning_rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
    )


if __name__ == "__main__":
    main()
