"""Fine-tune LensMAE, or train it from scratch, to tell kinds of dark matter apart: no_sub, cdm, axion.

    python training/run_classification.py --dataset lenses --model_name_or_path runs/pretrain --output_dir runs/dm
    accelerate launch training/run_classification.py training/recipes/demo/classify.yaml --dataset lenses ...

Leaves a Hub-ready folder whose `results.json` has the network's row beside PCA + logistic regression on the same
images.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import (
    DataArguments,
    LensTrainingArguments,
    ModelArguments,
    describe_data,
    full_precision_model,
    limit_steps,
    load_splits,
    logger,
    make_config,
    make_image_processor,
    make_model,
    parse_arguments,
    predict,
    print_rows,
    save_run,
    set_up,
)
from datasets import Dataset
from torch.utils.data import DataLoader

from lens_transformers import LensMAEForClassification, LensMAEImageProcessor
from lens_transformers.data import LABEL_NAMES, LensDataCollator
from lens_transformers.evaluation import ClassificationMetric, pca_logistic_rows
from lens_transformers.hub.trainer import LensTrainer
from lens_transformers.visualization import plot_confusion, plot_roc, plot_training_curves


@dataclass
class ClassificationArguments(DataArguments):
    """Which images to train and test on."""

    labels_per_class: int | None = field(
        default=None, metadata={"help": "Train on so many images of each class, drawn by the seed."}
    )
    baselines: bool = field(
        default=True,
        metadata={"help": "Fit PCA + logistic regression to the same images, as rows beside the network."},
    )


def main() -> None:
    data_arguments, model_arguments, arguments = parse_arguments(
        ClassificationArguments, ModelArguments, LensTrainingArguments
    )
    set_up(arguments)
    train, test = load_splits(data_arguments, "classification")
    if data_arguments.labels_per_class is not None:
        train = draw_per_class(train, data_arguments.labels_per_class, arguments.seed)
    test = resize_to_match(test, train)
    image_processor = make_image_processor(model_arguments, train)
    config = make_config(
        model_arguments,
        num_channels=train.features["image"].shape[0],
        num_labels=len(LABEL_NAMES),
        id2label=dict(enumerate(LABEL_NAMES)),
        label2id={name: index for index, name in enumerate(LABEL_NAMES)},
    )
    model = make_model(LensMAEForClassification, model_arguments, config)

    trainer = LensTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=test,
        data_collator=LensDataCollator(image_processor, "classification", data_arguments.augmentation),
    )
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    collator = LensDataCollator(image_processor, "classification")
    measure_pooled_norm(trainer, train, collator)
    classified = [
        (outputs.logits.softmax(dim=-1), batch["labels"])
        for batch, outputs in predict(trainer, test, collator, "Classifying")
    ]
    probabilities, labels = (torch.cat(parts).numpy() for parts in zip(*classified, strict=True))
    metric = ClassificationMetric().compute(predictions=probabilities, references=labels)
    rows = [{"name": "LensMAE", "split": "test", "num_train": len(train), **metric}]
    if data_arguments.baselines:
        rows += pca_logistic_rows(train["image"][:], train["label"][:], test["image"][:], labels, seed=arguments.seed)
    print_rows(rows, ["accuracy", "auc_macro", *(f"auc_{name}" for name in LABEL_NAMES)])
    figures = {
        "roc": plot_roc(labels, probabilities, LABEL_NAMES),
        "confusion": plot_confusion(labels, probabilities.argmax(axis=1), LABEL_NAMES),
        "training_curves": plot_training_curves(trainer.state.log_history),
    }
    data = describe_data(data_arguments, train, test)
    save_run(trainer, image_processor, "classification", data, rows, metrics, figures, model_arguments)


def measure_pooled_norm(trainer, train: Dataset, collator: LensDataCollator, num_images: int = 1500) -> None:
    """Measure the statistics of the pooled features again, in the full precision in which the checkpoint is used.

    Pooled features differ little between images, and bfloat16 shifts them by half of that: statistics that were
    gathered in bfloat16 put the classes' borders in the wrong place.
    """
    model = full_precision_model(trainer)
    norm: Any = model.norm
    if model.config.pooling != "mean_std_max":  # a layer norm keeps no statistics
        return
    images = train.select(range(min(num_images, len(train))))
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


def resize_to_match(test: Dataset, train: Dataset) -> Dataset:
    """Resize test images, in float, to the size of the training images, where another source has another size."""
    size, test_size = train.features["image"].shape[1:], test.features["image"].shape[1:]
    if size == test_size:
        return test
    logger.info("Test images of %dx%d pixels are resized to the %dx%d of training.", *test_size, *size)
    resize = LensMAEImageProcessor(normalization="none", do_resize=True, size=size)
    features = test.features.copy()
    features["image"] = train.features["image"]
    resized = test.map(
        lambda rows: {"image": list(resize(list(rows["image"]), return_tensors="np").pixel_values)},
        batched=True,
        features=features,
    )
    return resized.with_format("numpy")


if __name__ == "__main__":
    main()
