"""What a run is measured by, and what it leaves beside its weights."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from command_line import LensTrainingArguments, ModelArguments
from datasets import Dataset
from matplotlib.figure import Figure
from splits import hub_name_or_path
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, Trainer

from lens_transformers import LensMAEConfig, LensMAEImageProcessor
from lens_transformers.data import LensAugmentation, LensDataCollator
from lens_transformers.data.tasks import Task
from lens_transformers.hub import write_model_card
from lens_transformers.hub.files import to_json, write_text_atomically
from lens_transformers.visualization import plot_training_curves


# Of accelerate, which knows better than the flags what its own settings say.
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


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
            "base_model": hub_name_or_path(model_arguments.model_name_or_path),
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


def print_rows(rows: list[dict[str, Any]], metrics: list[str]) -> None:
    """Print the checkpoint's row and those of its baselines as a table."""
    width = max(len(row["name"]) for row in rows)
    print("\n" + " " * width + "".join(f"  {metric:>20}" for metric in metrics))
    for row in rows:
        values = "".join(f"  {row[metric]:>20.6g}" if metric in row else 22 * " " for metric in metrics)
        print(f"{row['name']:<{width}}{values}")
    print(flush=True)


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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    count = torch.get_num_threads()
    return f"{count} CPU thread{'s' if count > 1 else ''}"
