"""Pretrain LensMAE: hide most blocks of each lens image and learn to paint them.

    python training/run_mae.py --dataset lenses --output_dir runs/pretrain --max_steps 2000
    accelerate launch training/run_mae.py training/recipes/demo/pretrain.yaml --dataset lenses ...

Leaves a Hub-ready folder whose `results.json` has the error on hidden pixels beside that of two fillings that need no
training.
"""

import numpy as np
import torch
from command_line import DataArguments, LensTrainingArguments, ModelArguments, parse_arguments
from common import (
    describe_data,
    limit_steps,
    load_splits,
    make_config,
    make_image_processor,
    make_model,
    predict,
    print_rows,
    save_run,
    set_up,
)

from lens_transformers import LensMAEForPreTraining
from lens_transformers.data import LensDataCollator
from lens_transformers.evaluation import ReconstructionMetric, reconstruction_rows
from lens_transformers.hub.trainer import LensTrainer
from lens_transformers.visualization import plot_reconstructions, plot_training_curves


NUM_FIGURE_ROWS = 4


def main() -> None:
    data_arguments, model_arguments, arguments = parse_arguments(DataArguments, ModelArguments, LensTrainingArguments)
    set_up(arguments)
    train, test = load_splits(data_arguments, "pretraining")
    image_processor = make_image_processor(model_arguments, train)
    config = make_config(model_arguments, num_channels=train.features["image"].shape[0])
    model = make_model(LensMAEForPreTraining, model_arguments, config)

    trainer = LensTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=test,
        data_collator=LensDataCollator(image_processor, "pretraining", data_arguments.augmentation),
    )
    limit_steps(trainer)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics
    if not trainer.is_world_process_zero():
        return

    images, masks, reconstructions = reconstruct(trainer, test, image_processor)
    ratio = f"{config.mask_ratio:g}"
    metric = ReconstructionMetric().compute(predictions=reconstructions, references=images, masks=masks)
    rows = [{"name": "LensMAE", "split": "test", **metric}, *reconstruction_rows(images, masks)]
    rows = [{"name": row["name"], "split": row["split"], f"masked_mse_{ratio}": row["masked_mse"]} for row in rows]
    print_rows(rows, [f"masked_mse_{ratio}"])
    shown = slice(NUM_FIGURE_ROWS)
    figures = {
        "reconstructions": plot_reconstructions(images[shown], masks[shown], reconstructions[shown]),
        "training_curves": plot_training_curves(trainer.state.log_history),
    }
    data = describe_data(data_arguments, train, test)
    save_run(trainer, image_processor, "pretraining", data, rows, metrics, figures, model_arguments)


def reconstruct(trainer, test, image_processor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hide blocks of the test images, the same in every run of a seed, and paint them again, in flux.

    Returns:
        Images and reconstructions `(batch, bands, height, width)`, and masks `(batch, height, width)`.
    """
    collator = LensDataCollator(image_processor, "pretraining")
    generator = torch.Generator().manual_seed(trainer.args.seed)
    block_size = trainer.model.config.mask_block_size

    def collate(rows):
        batch = collator(rows)
        size, _, height, width = batch["pixel_values"].shape
        num_blocks = -(-height // block_size) * -(-width // block_size)
        return {**batch, "noise": torch.rand(size, num_blocks, generator=generator)}

    images, masks, reconstructions = [], [], []
    for batch, outputs in predict(trainer, test, collate, "Reconstructing"):
        pixel_values, model = batch["pixel_values"], trainer.model
        patch_mask = outputs.mask[..., None].expand(-1, -1, model.config.patch_size**2 * model.config.num_channels)
        size = tuple(pixel_values.shape[2:])
        masks.append(model.unpatchify(patch_mask, size)[:, 0].bool())
        images.append(image_processor.post_process_reconstruction(pixel_values))
        painted = model.reconstruct(pixel_values, outputs)
        reconstructions.append(image_processor.post_process_reconstruction(painted))
    return torch.cat(images).numpy(), torch.cat(masks).numpy(), torch.cat(reconstructions).numpy()


if __name__ == "__main__":
    main()
