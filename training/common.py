"""What the training scripts share: images, networks, time budgets, evaluation loops and the results they leave."""

import copy
import dataclasses
import importlib.metadata
import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from accelerate.utils import gather_object
from command_line import DataArguments, EncoderArguments, LensTrainingArguments, ModelArguments
from datasets import Dataset, IterableDataset
from huggingface_hub.errors import StrictDataclassError
from loop import STATE, prepare_output_folder
from matplotlib.figure import Figure
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, PreTrainedConfig, PreTrainedModel, Trainer

from lens_transformers import LensMAEConfig, LensMAEForPreTraining, LensMAEImageProcessor, LensMAEModel
from lens_transformers.data import (
    LensAugmentation,
    LensDataCollator,
    NoSuchSplitError,
    files_of_rows,
    find_duplicates,
    get_augmentation,
    load_lensing_dataset,
    split_by_content,
)
from lens_transformers.data.images import flux_of_white
from lens_transformers.data.splits import content_hashes, count_duplicates
from lens_transformers.data.tasks import Task
from lens_transformers.hub import write_model_card
from lens_transformers.hub.files import check_path, to_json, write_text_atomically
from lens_transformers.hub.results import is_preset
from lens_transformers.report.loading import READING, draw_rows, make_fits_layout, sample
from lens_transformers.visualization import plot_training_curves


logger = logging.getLogger(__name__)

# Fraction of a time budget that is planned: the rest is for what a trial of a few seconds does not see.
PLANNED_FRACTION = 0.92
# Share of the training images that a checkpoint is chosen by where there are no validation images.
HELD_OUT_FRACTION = 0.1
# Training images that constants are measured on.
NUM_MEASURED = 2000
# Steps of a trial that pay for memory and kernels, and do not count; and the fewest that do.
WARM_UP_STEPS, FEWEST_TIMED_STEPS = 2, 8
# Of accelerate, which knows better than the flags what its own settings say.
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


def set_up(arguments: LensTrainingArguments, model_arguments: ModelArguments) -> None:
    """Log to the console, seed everything, and see that the output folder holds no other run.

    Raises:
        ValueError: If it does, or the checkpoint to go on from is none.
        FileNotFoundError: If the checkpoint to start from is a folder that is not there.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO if arguments.should_log else logging.WARNING)
    for noisy in ("httpx", "httpx2", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers.utils.logging.set_verbosity_warning()
    if arguments.full_determinism:
        transformers.enable_full_determinism(arguments.seed)
    else:
        transformers.set_seed(arguments.seed)
    prepare_output_folder(arguments)
    if model_arguments.model_name_or_path is not None:
        check_path(model_arguments.model_name_or_path)


@dataclass
class Splits:
    """The images of a run.

    Attributes:
        train: What to train on; may be a stream.
        validation: What to choose by, if there is any.
        test: What to measure at the end.
        duplicates: How many images are there more than once, by the splits that share them; not known of a stream.
        drawn: Which rows of their source the test images are, where `--max_test_samples` left some out.
    """

    train: Any
    validation: Dataset | None
    test: Dataset
    duplicates: dict[str, int] | None
    drawn: np.ndarray | None


def load_splits(arguments: DataArguments, task: Task, streaming: bool = False, choosing: bool = False) -> Splits:
    """Load the images of a run, and warn of those that are in more than one split.

    Args:
        arguments: Which they are.
        task: What for.
        streaming: Whether to train on a stream.
        choosing: Whether anything is chosen while training: never by the images that are tested on.

    Raises:
        ValueError: If images to choose by are needed, and a stream has none; or those to test on have other bands
            than those to train on.
    """
    train = _load(arguments, "train", task, streaming=streaming)
    if arguments.test_dataset is None:
        test = _load(arguments, "test", task)
    else:
        test = _load(arguments, "all", task, arguments.test_dataset)
    num_bands, num_tested = (images.features["image"].shape[0] for images in (train, test))
    if num_tested != num_bands:
        raise ValueError(
            f"{arguments.test_dataset or arguments.dataset}: the images to test on have {num_tested} bands, those to "
            f"train on {num_bands}."
        )
    drawn = _draw(arguments.max_test_samples, test, arguments.split_seed)
    test = test if drawn is None else test.select(drawn)
    if streaming:
        if arguments.max_train_samples is not None:
            train = train.take(arguments.max_train_samples)
        validation = load_validation(arguments, task, test)
        if validation is None and (choosing or arguments.validation_fraction):
            raise ValueError(
                f"{arguments.dataset} has no validation images, and of a stream none are held out: leave out "
                "--validation_fraction and what chooses by them, which are --load_best_model_at_end, --save_strategy "
                "best and --lr_scheduler_type reduce_lr_on_plateau."
            )
        return Splits(train, validation, test, None, drawn)
    drawn_train = _draw(arguments.max_train_samples, train, arguments.split_seed)
    train = train if drawn_train is None else train.select(drawn_train)
    validation = None if arguments.validation_fraction else load_validation(arguments, task, test)
    fraction = arguments.validation_fraction or (HELD_OUT_FRACTION if choosing and validation is None else 0.0)
    if fraction:
        train, validation = hold_out(train, fraction, arguments.split_seed)
        logger.info("%d of the training images are held out, as validation images.", len(validation))
    splits = {"train": train, "validation": validation, "test": test}
    duplicates = find_duplicates({name: images for name, images in splits.items() if images is not None})
    return Splits(train, validation, test, count_duplicates(duplicates), drawn)


def hold_out(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divide training images, by their content, into those to train on and those to choose by."""
    # The training images may be what the same seed left of a division already.
    splits = split_by_content(train, {"train": 1 - fraction, "validation": fraction}, seed, purpose="validation")
    return splits["train"], splits["validation"]


def _load(
    arguments: DataArguments, split: str, task: Task, source: str | None = None, *, streaming: bool = False
) -> Any:
    load: Any = load_lensing_dataset  # which gives a stream or not
    return load(
        source or arguments.dataset,
        split=split,
        task=task,
        on_error=arguments.on_error,
        nan_fill=arguments.nan_fill,
        layout=make_fits_layout(arguments.fits_layout),
        split_fractions=arguments.split_fractions,
        split_seed=arguments.split_seed,
        num_workers=arguments.num_workers,
        streaming=streaming,
    )


def load_validation(arguments: DataArguments, task: Task, test: Dataset) -> Dataset | None:
    """Load the dataset's own validation images, but for those that are tested on; `None` if there are none.

    Raises:
        ValueError: If there are some that cannot be used.
    """
    try:
        validation = _load(arguments, "validation", task)
    except NoSuchSplitError as error:
        logger.info("Without validation images: %s", error)
        return None
    # Official sets have no test split: their validation images are what people test on.
    tested = set(content_hashes(test))
    kept = [row for row, content in enumerate(content_hashes(validation)) if content not in tested]
    if not kept:
        logger.info("Without validation images: all of %s are tested on.", arguments.dataset)
        return None
    return validation.select(kept)


def list_test_files(arguments: DataArguments, task: Task, drawn: np.ndarray | None) -> list[str] | None:
    """The files of the images to test on, in their order, where they have files of their own.

    Args:
        arguments: Which images they are.
        task: What for.
        drawn: `Splits.drawn`.
    """
    if arguments.test_dataset is not None:
        files = _list_files(arguments, "all", task, arguments.test_dataset)
    else:
        files = _list_files(arguments, "test", task, arguments.dataset)
    return files if files is None or drawn is None else [files[row] for row in drawn]


def name_training_images(arguments: DataArguments, task: Task, train: Dataset, rows: Sequence[int]) -> list[str]:
    """The files of some rows of the training set, or what rows of the dataset they are."""
    everything = _load(arguments, "train", task)
    row_of = {content: row for row, content in enumerate(content_hashes(everything))}
    found = [row_of[content] for content in content_hashes(train.select(rows))]
    files = _list_files(arguments, "train", task, arguments.dataset)
    return [f"row {row} of {arguments.dataset}" if files is None else files[row] for row in found]


def _list_files(arguments: DataArguments, split: str, task: Task, source: str) -> list[str] | None:
    # Rows of a division, and what is left when images are skipped, are not those of the files in order.
    divided = arguments.split_fractions is not None and split in arguments.split_fractions
    if divided or arguments.on_error == "skip":
        return None
    return files_of_rows(source, split=split, task=task, layout=make_fits_layout(arguments.fits_layout))


def make_collators(
    image_processor: Any, arguments: DataArguments, task: Task, seed: int
) -> tuple[LensDataCollator, LensDataCollator]:
    """What makes batches to train on, with augmentation, and to evaluate on, without."""
    settings: Any = arguments.augmentation_settings or {}
    try:
        augmentation = get_augmentation(arguments.augmentation, **settings)
    except TypeError as error:
        raise ValueError(f"--augmentation_settings: {error}.") from error
    return LensDataCollator(image_processor, task, augmentation, seed), LensDataCollator(image_processor, task)


def _draw(count: int | None, dataset: Dataset, seed: int) -> np.ndarray | None:
    return None if count is None or count >= len(dataset) else draw_rows(len(dataset), count, seed)


def make_config(arguments: ModelArguments, num_channels: int, **settings: Any) -> LensMAEConfig:
    """The configuration of the checkpoint or of the named size, with the changes asked for.

    Raises:
        ValueError: If the checkpoint is of another architecture, or takes images of other bands.
    """
    try:
        if arguments.model_name_or_path is None:
            config = LensMAEConfig.from_size(arguments.model_size, num_channels=num_channels, **settings)
        else:
            config = LensMAEConfig.from_pretrained(arguments.model_name_or_path)
            if config.num_channels != num_channels:
                raise ValueError(
                    f"{arguments.model_name_or_path} is a network of {config.num_channels} bands; the images have "
                    f"{num_channels}."
                )
            config = LensMAEConfig.from_pretrained(arguments.model_name_or_path, **settings)
        if not arguments.config_overrides:
            return config
        override_config(config, arguments.config_overrides)
        return LensMAEConfig.from_dict(config.to_dict())
    except StrictDataclassError as error:
        raise ValueError(f"There is no such network: {error.__cause__ or error}") from error


def override_config(config: PreTrainedConfig, changes: str) -> None:
    """Make the changes that `--config_overrides` asks for.

    Raises:
        ValueError: If they cannot be read, or are of what the configuration does not have.
    """
    try:
        config.update_from_string(changes)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--config_overrides {changes}: {error}. It takes name=value,name=value of what is a number, a word or "
            "true and false."
        ) from error


def make_model(model_class: type[PreTrainedModel], arguments: ModelArguments, config: LensMAEConfig):
    """The network: with the checkpoint's weights, or drawn by the seed.

    Raises:
        ValueError: If the checkpoint is of another kind, or its weights do not fit into the network.
    """
    checkpoint = arguments.model_name_or_path
    if checkpoint is None:
        return model_class(config)
    kind = (config.architectures or ["no network that it names"])[0]
    kinds = [model_class.__name__]
    if model_class is not LensMAEForPreTraining:
        kinds += [LensMAEForPreTraining.__name__, LensMAEModel.__name__]
    if kind not in kinds:
        raise ValueError(
            f"{checkpoint} holds {kind}, and this needs {' or '.join(kinds)}: of any other, weights would be lost and "
            "their places drawn at random."
        )
    loaded: Any = model_class.from_pretrained(
        checkpoint, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    model, loading = loaded
    # Only a head that the checkpoint does not have may be drawn.
    drawn = [
        name
        for name in loading["missing_keys"]
        if (kind == kinds[0] and not name.startswith("imprint_head."))
        or name.startswith(f"{model.base_model_prefix}.")
    ]
    reshaped = [name for name, *_ in loading["mismatched_keys"]]
    if unfitting := sorted({*drawn, *reshaped, *loading["unexpected_keys"]}):
        changes = f" with --config_overrides {arguments.config_overrides}" if arguments.config_overrides else ""
        raise ValueError(
            f"{checkpoint} does not fit the network for these images{changes}: {len(unfitting)} weights would be lost "
            f"or drawn at random, such as {unfitting[0]}."
        )
    return model


def make_image_processor(
    arguments: EncoderArguments, train: Dataset | IterableDataset, num_samples: int = NUM_MEASURED, **settings: Any
) -> LensMAEImageProcessor:
    """The checkpoint's image processor, or one of these settings whose constants are measured on training images.

    Either with the changes asked for, which may be the constants.
    """
    overrides: Any = arguments.image_processor_overrides
    if arguments.model_name_or_path is not None:
        return AutoImageProcessor.from_pretrained(arguments.model_name_or_path, **overrides)
    images = some_images(train, num_samples)
    settings = {
        "normalization": "arcsinh",
        "stretch": arguments.stretch,
        "num_bands": train.features["image"].shape[0],
        "white_flux": flux_of_white(images),
        **settings,
        **overrides,
    }
    if {"image_mean", "image_std"} & set(settings) or settings["normalization"] == "none":
        return LensMAEImageProcessor(**settings)
    return LensMAEImageProcessor.measured_on(images, **settings)


def some_images(
    train: Dataset | IterableDataset, num_samples: int = NUM_MEASURED, column: str = "image"
) -> np.ndarray:
    """At most so many images `(images, bands, height, width)`: drawn from a dataset, the first of a stream."""
    if isinstance(train, IterableDataset):
        return np.stack([row[column] for row in train.take(num_samples)])
    return sample(train, num_samples)[column][:]


def limit_steps(trainer: Trainer) -> None:
    """Set `max_steps` to what fits into `max_train_seconds`, after a trial on a copy of the model.

    The trial draws from a forked random state, so that the run is the same as one given this `max_steps`.
    """
    arguments: LensTrainingArguments = trainer.args  # type: ignore[assignment]
    if arguments.max_train_seconds is None:
        return
    if arguments.resume_from_checkpoint is not None:
        # Another trial would find another number, and the learning rate another course.
        state = json.loads((Path(arguments.resume_from_checkpoint) / STATE).read_text(encoding="utf-8"))
        arguments.max_steps = state["max_steps"]
        return
    with torch.random.fork_rng():
        rate = _steps_per_second(trainer, trial_seconds=min(4.0, 0.05 * arguments.max_train_seconds))
    # All processes take as many steps, as the slowest can.
    rate = min(gather_object([rate]))
    arguments.max_steps = max(int(PLANNED_FRACTION * arguments.max_train_seconds * rate), 1)
    logger.info("max_steps = %d: %.0f s at %.2f steps/s.", arguments.max_steps, arguments.max_train_seconds, rate)


def _steps_per_second(trainer: Any, trial_seconds: float) -> float:
    arguments = trainer.args
    model = copy.deepcopy(trainer.model).to(arguments.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    # Not the trainer's own, at which all processes would have to take as many batches.
    loader = DataLoader(
        trainer.train_dataset,
        arguments.train_batch_size,
        shuffle=hasattr(trainer.train_dataset, "__len__"),
        collate_fn=trainer.data_collator,
        num_workers=arguments.dataloader_num_workers,
        prefetch_factor=arguments.dataloader_prefetch_factor,
        persistent_workers=arguments.dataloader_persistent_workers,
        pin_memory=arguments.dataloader_pin_memory,
        multiprocessing_context=arguments.dataloader_multiprocessing_context,
    )
    batches = _endless(loader)

    def step() -> None:
        for _ in range(arguments.gradient_accumulation_steps):
            batch = next(batches)
            with trainer.accelerator.autocast():
                loss = model(**{name: value.to(arguments.device) for name, value in batch.items()}).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    durations: list[float] = []
    while len(durations) < WARM_UP_STEPS + FEWEST_TIMED_STEPS or sum(durations[WARM_UP_STEPS:]) <= trial_seconds:
        start = time.perf_counter()
        step()
        durations.append(time.perf_counter() - start)
    # The lower quartile: on a shared machine some steps take many times as long, for seconds on end.
    return 1 / statistics.quantiles(durations[WARM_UP_STEPS:], n=4)[0]


def _endless(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


def full_precision_model(trainer: Trainer) -> Any:
    """The trained model as whoever loads it has it: outside of Trainer's wrappers, in evaluation."""
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()


def predict(
    trainer: Trainer, dataset: Dataset, collator: Callable, description: str, **inputs: Any
) -> Iterator[tuple[dict[str, torch.Tensor], Any]]:
    """Run the trained model over a dataset in full precision, batch by batch, as whoever loads it will.

    Args:
        trainer: Trainer that trained the model.
        dataset: Images.
        collator: Makes batches of them, without augmentation.
        description: Words beside the progress bar.
        **inputs: What the model is given beside each batch.

    Yields:
        Each batch and the model's outputs, on the CPU.
    """
    model = full_precision_model(trainer)
    loader = DataLoader(dataset, trainer.args.eval_batch_size, collate_fn=collator)
    for batch in tqdm(loader, desc=description, unit="batch"):
        with torch.inference_mode():
            outputs = model(**{name: value.to(model.device) for name, value in batch.items()}, **inputs)
        yield (
            batch,
            type(outputs)(**{name: value.cpu() for name, value in outputs.items() if isinstance(value, torch.Tensor)}),
        )


def save_run(
    trainer: Trainer,
    image_processor: LensMAEImageProcessor,
    task: Task,
    data: dict[str, Any],
    rows: list[dict[str, Any]],
    train_metrics: dict[str, float],
    figures: dict[str, Any],
    model_arguments: ModelArguments,
    **facts: Any,
) -> None:
    """Leave beside the trained weights what makes a Hub-ready folder: results with baselines, figures and a card.

    What else was found, such as a temperature, stands in the results by its name.
    """
    arguments: LensTrainingArguments = trainer.args  # type: ignore[assignment]
    model: PreTrainedModel = trainer.model  # type: ignore[assignment]
    collator: LensDataCollator = trainer.data_collator  # type: ignore[assignment]
    folder = Path(str(arguments.output_dir))
    image_processor.save_pretrained(folder)
    trainer.save_metrics("all", train_metrics, combined=False)
    for name, figure in figures.items():
        save_figure(figure, folder, name)
    steps = trainer.state.global_step
    results = {
        "task": task,
        "title": arguments.title or folder.resolve().name,
        **({"group": arguments.group} if arguments.group else {}),
        "model": {
            "architecture": model.config.model_type,
            **({"size": _size_of(model.config)} if model.config.model_type == "lens_mae" else {}),
            "parameters": model.num_parameters(),
            "base_model": _hub_name_or_path(model_arguments.model_name_or_path),
        },
        "data": data,
        "training": {
            "max_steps": steps,
            "images_seen": count_images_seen(trainer),
            "train_runtime_s": train_metrics["train_runtime"],
            "seed": arguments.seed,
            "learning_rate": arguments.learning_rate,
            "batch_size": arguments.images_per_step,
            "weight_decay": arguments.weight_decay,
            "augmentation": _describe_augmentation(collator.augmentation),
            "precision": PRECISIONS.get(trainer.accelerator.mixed_precision, trainer.accelerator.mixed_precision),
            "device": _device_name(arguments.device),
        },
        "rows": rows,
        **facts,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "datasets")},
    }
    write_text_atomically(folder / "results.json", to_json(results))
    write_model_card(folder)
    if arguments.push_to_hub:
        trainer.push_to_hub()


def count_images_seen(trainer: Trainer) -> int:
    """How many images the steps have seen: the last batch of an epoch may be a partial one."""
    arguments: LensTrainingArguments = trainer.args  # type: ignore[assignment]
    steps = trainer.state.global_step
    train: Any = trainer.train_dataset
    if not hasattr(train, "__len__"):
        return steps * arguments.images_per_step
    num_batches = len(trainer.callback_handler.train_dataloader)
    epochs, rest = divmod(steps, -(-num_batches // arguments.gradient_accumulation_steps))
    of_epoch = len(train)
    if arguments.dataloader_drop_last:
        of_epoch = num_batches * arguments.train_batch_size * arguments.world_size
    return epochs * of_epoch + min(rest * arguments.images_per_step, of_epoch)


def _describe_augmentation(augmentation: LensAugmentation) -> str:
    """Its symmetries, and every other setting that does something."""
    settings = dataclasses.asdict(augmentation)
    symmetries = settings.pop("symmetries")
    return ", ".join([symmetries, *(f"{name} {value}" for name, value in settings.items() if value)])


def _size_of(config: Any) -> str:
    """The name of the size that has this encoder, which of a checkpoint no argument says."""
    for size in LensMAEConfig.sizes:
        named = LensMAEConfig.from_size(size)
        if (named.hidden_size, named.num_hidden_layers) == (config.hidden_size, config.num_hidden_layers):
            return size
    return "custom"


def curves_of(trainer: Trainer) -> dict[str, Figure]:
    """The figure of the losses; none where nothing was logged."""
    history = trainer.state.log_history
    if not any("loss" in entry or "eval_loss" in entry for entry in history):
        return {}
    return {"training_curves": plot_training_curves(history)}


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure among those of a run."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "figures" / f"{name}.png", bbox_inches="tight")


def _hub_name_or_path(name_or_path: str | None) -> str | None:
    """A name on the Hub as it is; a folder by its whole path, which cannot be taken for a name on the Hub."""
    if name_or_path is not None and Path(name_or_path).exists():
        return str(Path(name_or_path).resolve())
    return name_or_path


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    count = torch.get_num_threads()
    return f"{count} CPU thread{'s' if count > 1 else ''}"


def describe_data(arguments: DataArguments, splits: Splits) -> dict[str, Any]:
    """What the results say of the data: where they are from, how many, how divided, and the seed that made them."""
    description: dict[str, Any] = {
        "source": _hub_name_or_path(arguments.dataset),
        "split": "test",
        "num_train": len(splits.train) if isinstance(splits.train, Dataset) else None,
        "num_validation": 0 if splits.validation is None else len(splits.validation),
        "num_test": len(splits.test),
        "duplicates": splits.duplicates,
        # Without it all of them are tested on, as are fewer than it.
        "max_test_samples": None if splits.drawn is None else len(splits.drawn),
        "split_seed": arguments.split_seed,
        **{name: getattr(arguments, name) for name in READING},
    }
    if arguments.test_dataset is not None:
        description.update(test_source=_hub_name_or_path(arguments.test_dataset), split="all")
    if arguments.split_fractions is not None:
        description.update(split_fractions=arguments.split_fractions)
    simulation = Path(arguments.dataset) / "simulation.yaml"
    if simulation.is_file():
        record = yaml.safe_load(simulation.read_text(encoding="utf-8"))
        description.update(preset=record["preset"], preset_is_changed=not is_preset(record), seed=record["seed"])
    return description


def print_rows(rows: list[dict[str, Any]], metrics: list[str]) -> None:
    """Print the checkpoint's row and those of its baselines as a table."""
    width = max(len(row["name"]) for row in rows)
    print("\n" + " " * width + "".join(f"  {metric:>20}" for metric in metrics))
    for row in rows:
        values = "".join(f"  {row[metric]:>20.6g}" if metric in row else 22 * " " for metric in metrics)
        print(f"{row['name']:<{width}}{values}")
    print(flush=True)
