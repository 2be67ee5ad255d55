"""Train LensMAE, or an image classifier of transformers, to tell kinds of dark matter apart: no_sub, cdm, axion.

    python training/run_classification.py --dataset lenses --model_name_or_path runs/pretrain --output_dir runs/dm
    accelerate launch training/run_classification.py training/recipes/deeplense_model_2/classify_from_scratch.yaml ...
    python training/run_classification.py ... --model_name_or_path google/vit-base-patch16-224 --freeze first_n:6
    python training/run_classification.py ... --model_type resnet --mixup_alpha 0.2 --label_smoothing_factor 0.1

Leaves a Hub-ready folder whose `results.json` has the network's row beside PCA + logistic regression on the same
images, and whose `predictions.parquet` has the probabilities of every test image.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from classifiers import ClassifierArguments, make_classifier
from command_line import DataArguments, LensTrainingArguments, check_at_least, launch, parse_arguments
from datasets import Dataset
from loop import RunTrainer, set_up
from networks import make_collators
from results import curves_of, full_precision_model, predict, print_rows, save_run
from splits import describe_data, list_test_files, load_splits, name_training_images
from time_budget import limit_steps
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lens_transformers import LensMAEForClassification
from lens_transformers.data import LABEL_NAMES, LensDataCollator, resize_images
from lens_transformers.data.schema import IMAGE_COLUMNS
from lens_transformers.data.writing import written_whole
from lens_transformers.evaluation import ClassificationMetric, average_over_symmetries, pca_logistic_rows
from lens_transformers.evaluation.calibration import fit_temperature
from lens_transformers.evaluation.classification import add_calibrated_error
from lens_transformers.evaluation.pca import missing_classes
from lens_transformers.report.loading import sample
from lens_transformers.visualization import plot_confusion, plot_roc


# Training images that the baselines are fitted to: all of them would have to be in memory.
MAX_BASELINE_IMAGES = 60_000


@dataclass
class ClassificationArguments(DataArguments):
    """Which images to train and test on."""

    labels_per_class: int | None = field(
        default=None, metadata={"help": "Train on so many images of each class, drawn by the seed."}
    )
    baselines: bool = field(
        default=True,
        metadata={
            "help": f"Fit PCA + logistic regression to the same images, at most {MAX_BASELINE_IMAGES} of them, as "
            "rows beside the network."
        },
    )
    test_time_augmentation: bool = field(
        default=False,
        metadata={"help": "Measure the mean of logits over the eight symmetries of each image as well."},
    )

    def __post_init__(self):
        super().__post_init__()
        check_at_least(1, self, "labels_per_class")


@dataclass
class ClassificationTrainingArguments(LensTrainingArguments):
    """transformers' arguments, with defaults that suit lens images, and a time budget."""

    smooths_labels = True

    class_weights: list[str] | None = field(
        default=None,
        metadata={"help": "Weight of each class in the loss, in the order no_sub cdm axion, or balanced."},
    )
    mixup_alpha: float = field(
        default=0.0,
        metadata={"help": "Blend images in pairs, with shares drawn from Beta(alpha, alpha). 0.2 is usual; 0 is off."},
    )

    def __post_init__(self):
        check_at_least(0, self, "mixup_alpha")
        super().__post_init__()


def main() -> None:
    data_arguments, model_arguments, arguments = parse_arguments(
        ClassificationArguments, ClassifierArguments, ClassificationTrainingArguments
    )
    set_up(arguments, model_arguments)
    splits = load_splits(data_arguments, "classification", choosing=arguments.chooses)
    if data_arguments.labels_per_class is not None:
        splits.train = draw_per_class(splits.train, data_arguments.labels_per_class, arguments.seed)
    splits.look_for_duplicates()
    # Another source may have images of another size.
    splits.test = resize_images(splits.test, splits.train.features["image"].shape[1:])
    train, validation, test = splits.train, splits.validation, splits.test
    fitted = sample(train, MAX_BASELINE_IMAGES) if data_arguments.baselines else None
    if fitted is not None:
        check_classes(fitted["label"][:])
    model, image_processor = make_classifier(model_arguments, train)

    collator, eval_collator = make_collators(image_processor, data_arguments, "classification", arguments.seed)
    if data_arguments.test_time_augmentation:
        check_turned(model, eval_collator([test[0]])["pixel_values"])
    trainer = ClassificationTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=test if validation is None else validation,
        data_collator=collator,
        eval_collator=eval_collator,
        name_rows=partial(name_training_images, data_arguments, "classification", train),
        processing_class=image_processor,
        class_weights=weigh_classes(arguments.class_weights, train),
    )
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    measure_pooled_norm(trainer, train, eval_collator)
    temperature = 1.0 if validation is None else calibrate(trainer, validation, eval_collator)
    full_precision_model(trainer).save_pretrained(str(arguments.output_dir))  # with what was measured of it
    logits, labels = classify(trainer, test, eval_collator, data_arguments.test_time_augmentation)
    rows: list[dict[str, Any]] = []
    for name, of_network in logits.items():
        metric = ClassificationMetric().compute(predictions=of_network.softmax(dim=-1), references=labels)
        rows.append({"name": name, "split": "test", "num_train": len(train), **metric})
        if validation is not None:
            add_calibrated_error(rows[-1], (of_network / temperature).softmax(dim=-1), labels)
    if fitted is not None:
        rows += pca_logistic_rows(
            fitted["image"][:], fitted["label"][:], test["image"][:], labels, seed=arguments.seed
        )
    print_rows(rows, ["accuracy", "auc_macro", *(f"auc_{name}" for name in LABEL_NAMES)])
    own_logits = next(iter(logits.values()))
    probabilities = own_logits.softmax(dim=-1).numpy()
    figures = {
        "roc": plot_roc(labels, probabilities, LABEL_NAMES),
        "confusion": plot_confusion(labels, probabilities.argmax(axis=1), LABEL_NAMES),
        **curves_of(trainer),
    }
    files = list_test_files(data_arguments, "classification", splits.drawn)
    calibrated = (own_logits / temperature).softmax(dim=-1).numpy()
    path = Path(str(arguments.output_dir)) / "predictions.parquet"
    write_predictions(path, test, files, labels, calibrated, temperature)
    data = describe_data(data_arguments, splits)
    facts = {} if validation is None else {"temperature": temperature}
    save_run(trainer, image_processor, "classification", data, rows, metrics, figures, model_arguments, **facts)


class ClassificationTrainer(RunTrainer):
    """A Trainer whose loss knows class weights, label smoothing and mixup."""

    scores = ("loss", "accuracy")

    def __init__(self, *args: Any, class_weights: torch.Tensor | None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.class_weights = class_weights
        # The loss is a mean over a batch, whatever else a network's `forward` would take.
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The cross-entropy; of blended images in training, if there is mixup."""
        pixel_values, targets = inputs["pixel_values"], inputs["labels"]
        if model.training and self.args.mixup_alpha:
            targets = F.one_hot(targets, len(LABEL_NAMES)).to(pixel_values)
            pixel_values, targets = mixup(pixel_values, targets, self.args.mixup_alpha)
        outputs = model(pixel_values=pixel_values)
        logits = outputs.logits.float()
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        loss = F.cross_entropy(logits, targets, weights, label_smoothing=self.args.label_smoothing_factor)
        return (loss, outputs) if return_outputs else loss

    def score_images(self, inputs, outputs):
        """Cross-entropy and accuracy, without the weights, smoothing and blending of training."""
        logits, labels = outputs.logits.float(), inputs["labels"]
        loss = F.cross_entropy(logits, labels, reduction="none")
        return {"loss": loss, "accuracy": logits.argmax(dim=-1) == labels}


def mixup(images: torch.Tensor, labels: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each image of a batch, and its label, with another one's (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: `(batch, bands, height, width)`.
        labels: `(batch, classes)`, 1 at the class and 0 elsewhere.
        alpha: The larger, the more evenly images are blended.

    Returns:
        Images and labels of the same shapes.
    """
    # Drawn from torch's generator on the CPU, whose state a checkpoint keeps.
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(images)).to(images.device)
    blended_images, blended_labels = (share * part + (1 - share) * part[partner] for part in (images, labels))
    return blended_images, blended_labels


def weigh_classes(weights: list[str] | None, train: Dataset) -> torch.Tensor | None:
    """The weight of each class in the loss; balanced ones let each class count alike, whatever its number of images.

    Raises:
        ValueError: If there is not one positive number a class, or a class has no images to balance.
    """
    if weights is None:
        return None
    if weights == ["balanced"]:
        counts = np.bincount(train["label"][:], minlength=len(LABEL_NAMES))
        if not counts.all():
            raise ValueError("--class_weights balanced: a class has no training images.")
        return torch.tensor(len(train) / (len(LABEL_NAMES) * counts), dtype=torch.float32)
    try:
        numbers = torch.tensor([float(weight) for weight in weights])
    except ValueError:
        numbers = torch.tensor([])
    if len(numbers) != len(LABEL_NAMES) or not bool((numbers > 0).all()):
        raise ValueError(
            f"--class_weights {' '.join(weights)} must be balanced, or one positive number for each of "
            f"{' '.join(LABEL_NAMES)}."
        )
    return numbers


def check_classes(labels: np.ndarray) -> None:
    """Refuse, before a network trains, labels of images that no linear model can be fitted to.

    Raises:
        ValueError: If a class has none.
    """
    if missing := missing_classes(labels):
        raise ValueError(
            f"--baselines: of {len(labels)} training images none is of {' or '.join(missing)}, and linear models "
            "learn all classes: give more by --max_train_samples, or leave the models out by --baselines False."
        )


def check_turned(model: torch.nn.Module, pixel_values: torch.Tensor) -> None:
    """Refuse, before it trains, a network that takes no images turned by a quarter.

    Raises:
        ValueError: If images `(batch, bands, height, width)` are not square, and the network wants that size.
    """
    height, width = pixel_values.shape[2:]
    if height == width:
        return
    try:
        with torch.inference_mode():
            model.eval()(pixel_values.transpose(2, 3))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--test_time_augmentation True: images of {height}x{width} pixels, turned by a quarter, have {width}x"
            f"{height}, which the network does not take: {error}"
        ) from error


def calibrate(trainer: ClassificationTrainer, validation: Dataset, collator: LensDataCollator) -> float:
    """Fit a temperature to images that are neither trained nor tested on, and keep it in the configuration."""
    logits, labels = classify(trainer, validation, collator)
    temperature = fit_temperature(next(iter(logits.values())), labels)
    config = full_precision_model(trainer).config
    if config.model_type == "lens_mae":  # of other networks a temperature is one of generating text
        config.temperature = temperature
    return temperature


def classify(
    trainer: ClassificationTrainer, dataset: Dataset, collator: LensDataCollator, over_symmetries: bool = False
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Run the network over a dataset in full precision.

    Returns:
        Logits `(images, classes)` by the name of their row: of the network, first, and if asked for their means over
        the eight symmetries of each image; and labels `(images,)`.
    """
    model = full_precision_model(trainer)

    @torch.inference_mode()
    def network(images: torch.Tensor) -> torch.Tensor:
        return model(images.to(model.device)).logits.cpu()

    single, averaged, labels = [], [], []
    for batch, outputs in predict(trainer, dataset, collator, "Classifying"):
        single.append(outputs.logits)
        labels.append(batch["labels"])
        if over_symmetries:
            averaged.append(average_over_symmetries(network, batch["pixel_values"], gives_images=False))
    name = "LensMAE" if isinstance(model, LensMAEForClassification) else type(model).__name__.partition("For")[0]
    logits = {name: torch.cat(single)}
    if over_symmetries:
        logits[f"{name}, mean over the eight symmetries"] = torch.cat(averaged)
    return logits, torch.cat(labels).numpy()


def write_predictions(
    path: Path,
    test: Dataset,
    files: list[str] | None,
    labels: np.ndarray,
    probabilities: np.ndarray,
    temperature: float,
) -> None:
    """Write a table of the test images: what is known of each, the probability of each class, at which temperature."""
    columns: dict[str, Any] = {"index": np.arange(len(test))}
    if files is not None:
        columns["file"] = files
    columns["label"] = labels
    columns |= {f"probability_{name}": probabilities[:, index] for index, name in enumerate(LABEL_NAMES)}
    columns["temperature"] = np.full(len(test), temperature)
    parameters = [name for name in test.features if name not in (*IMAGE_COLUMNS, *columns)]
    # In numpy's format, numbers of 64 bits would lose half of them.
    exact = test.with_format("arrow")
    columns |= {name: exact[name].combine_chunks() for name in parameters}
    with written_whole(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def measure_pooled_norm(trainer, train: Dataset, collator: LensDataCollator, num_images: int = 1500) -> None:
    """Measure the statistics of the pooled features again, in the full precision in which the checkpoint is used.

    Pooled features differ little between images, and bfloat16 shifts them by half of that: statistics that were
    gathered in bfloat16 put the classes' borders in the wrong place.
    """
    model = full_precision_model(trainer)
    if getattr(model.config, "pooling", None) != "mean_std_max":  # no other head keeps statistics
        return
    norm: Any = model.norm
    images = sample(train, num_images)
    with torch.inference_mode():
        pooled = torch.cat(
            [
                model.base_model(batch["pixel_values"].to(model.device)).pooler_output
                for batch in DataLoader(images, trainer.args.eval_batch_size, collate_fn=collator)
            ]
        )
        norm.running_mean.copy_(pooled.mean(dim=0))
        norm.running_var.copy_(pooled.var(dim=0))


def draw_per_class(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Draw so many images of each class.

    Raises:
        ValueError: If a class has fewer.
    """
    labels = np.asarray(dataset["label"][:])
    order = np.random.default_rng(seed).permutation(len(labels))
    drawn = []
    for index, name in enumerate(LABEL_NAMES):
        of_class = order[labels[order] == index]
        if len(of_class) < count:
            raise ValueError(f"--labels_per_class {count}: the training set has {len(of_class)} images of {name}.")
        drawn.append(of_class[:count])
    return dataset.select(np.sort(np.concatenate(drawn)))


if __name__ == "__main__":
    launch(main)
