"""Apply checkpoints to files: a table of probabilities, anomaly scores and embeddings, or super-resolved files.

    python training/predict.py --checkpoints runs/classify --files night/ --output night.csv
    python training/predict.py --checkpoints runs/classify runs/pretrain --files night/ --output night.parquet
    python training/predict.py --checkpoints runs/sr --files night/ --output_dir sharp --save_outputs fits

The anomaly score of a pretraining checkpoint is its mean squared error, in flux, on hidden pixels: large for images
unlike those that it was trained on.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from command_line import parse_arguments
from run_sr import save_outputs
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoImageProcessor

from lens_transformers import LensMAEForPreTraining, pipeline
from lens_transformers.data import LensDataCollator, MaskedCollator
from lens_transformers.data.folders import files_in
from lens_transformers.evaluation.reconstruction import in_flux, masked_errors
from lens_transformers.pipelines import FILE_SUFFIXES, LensSuperResolution, read_image_file


logger = logging.getLogger(__name__)


@dataclass
class PredictionArguments:
    """What to apply to which files, and where to write what comes out."""

    checkpoints: list[str] = field(
        metadata={"help": "Folders or Hub names: classifiers, pretraining or super-resolution checkpoints."}
    )
    files: list[str] = field(metadata={"help": "Image files (.npy, FITS, pictures), or folders of them."})
    output: str | None = field(default=None, metadata={"help": "The table to write: .parquet or .csv."})
    output_dir: str | None = field(default=None, metadata={"help": "Where super-resolved files go."})
    save_outputs: str = field(
        default="fits",
        metadata={
            "help": "Kind of the super-resolved files: fits, coordinates scaled, or npy.",
            "choices": ["fits", "npy"],
        },
    )
    embedding: bool = field(
        default=False, metadata={"help": "Whether the table has the first checkpoint's embedding."}
    )
    on_error: str = field(
        default="raise",
        metadata={"help": "Files that cannot be read: raise, or skip and name them.", "choices": ["raise", "skip"]},
    )
    batch_size: int = field(default=32, metadata={"help": "Images that go through a network at once."})
    seed: int = field(default=0, metadata={"help": "Draws the masks of the anomaly score."})


def main() -> None:
    """Apply each checkpoint to each file."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    (arguments,) = parse_arguments(PredictionArguments)
    run(arguments)


def run(arguments: PredictionArguments) -> None:
    """Apply each checkpoint to each file, a batch at a time.

    Raises:
        ValueError: If there is nowhere to write to, or a file cannot be read and is not to be skipped.
    """
    appliers = [load_applier(checkpoint, arguments) for checkpoint in arguments.checkpoints]
    sharpens = [isinstance(applier, LensSuperResolution) for applier in appliers]
    makes_table = arguments.embedding or not all(sharpens)
    if makes_table and (arguments.output is None or Path(arguments.output).suffix not in (".parquet", ".csv")):
        raise ValueError(f"--output is a file .parquet or .csv for the table, not {arguments.output}.")
    if any(sharpens) and arguments.output_dir is None:
        raise ValueError("--output_dir is missing: give the folder for the super-resolved files.")
    if len({type(applier) for applier in appliers}) < len(appliers):
        raise ValueError("--checkpoints: give one of a kind; the columns of two would have the same names.")
    if arguments.embedding:
        appliers.append(pipeline("embedding", arguments.checkpoints[0], batch_size=arguments.batch_size))
    files = list_files(arguments.files)
    rows: list[pd.DataFrame] = []
    num_done = 0
    images_read = readable(files, arguments.on_error)
    while batch := list(islice(images_read, arguments.batch_size)):
        names, images = [name for name, _ in batch], [image for _, image in batch]
        columns: dict[str, Any] = {"file": names}
        for applier in appliers:
            if isinstance(applier, LensSuperResolution):
                upscale = applier.model.config.upscale
                folder = Path(str(arguments.output_dir))
                save_outputs(
                    folder, applier(images), num_done, [""] * num_done + names, upscale, arguments.save_outputs
                )
            else:
                columns.update(columns_of(applier(images)))
        rows.append(pd.DataFrame(columns))
        num_done += len(batch)
    if not rows:
        raise ValueError("None of the files can be read.")
    if makes_table:
        table = pd.concat(rows, ignore_index=True)
        path = Path(str(arguments.output))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole, so that no half of a table is taken for all of it.
        partial = path.with_name(f".{path.name}")
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            table.to_csv(partial, index=False)
        partial.replace(path)
    logger.info("%d of %d files done.", num_done, len(files))


def columns_of(result: Any) -> dict[str, np.ndarray]:
    """Columns of the table, from what a pipeline or an anomaly score gave."""
    if isinstance(result, np.ndarray):
        if result.ndim == 1:
            return {"anomaly_score": result}
        return {f"embedding_{index}": column for index, column in enumerate(result.T)}
    return {
        f"probability_{name}": column for name, column in zip(result.class_names, result.probabilities.T, strict=True)
    }


def load_applier(checkpoint: str, arguments: PredictionArguments) -> Any:
    """Load what the checkpoint is for: a pipeline, or the anomaly score.

    Raises:
        ValueError: If it is a checkpoint of another kind.
    """
    (architecture,) = AutoConfig.from_pretrained(checkpoint).architectures or ("none",)
    if architecture == "LensMAEForClassification":
        return pipeline("classification", checkpoint, batch_size=arguments.batch_size)
    if architecture == "LensMAEForSuperResolution":
        return pipeline("super-resolution", checkpoint, batch_size=arguments.batch_size)
    if architecture in ("LensMAE", "LensMAEForPreTraining"):
        return AnomalyScore(checkpoint, arguments.seed)
    raise ValueError(f"{checkpoint} holds {architecture}, which is no LensMAE that predicts.")


class AnomalyScore:
    """Mean squared error of a pretraining checkpoint on hidden pixels, in flux, as `run_mae.py` measures it.

    Args:
        checkpoint: Folder, or name on the Hub.
        seed: Draws the masks, with the pixels of each image.
    """

    def __init__(self, checkpoint: str, seed: int):
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
        self.model = LensMAEForPreTraining.from_pretrained(checkpoint).eval().to(device)
        self.image_processor = AutoImageProcessor.from_pretrained(checkpoint)
        collator = LensDataCollator(self.image_processor, "pretraining")
        self.collator = MaskedCollator(collator, self.model.config.mask_block_size, seed)

    @torch.inference_mode()
    def __call__(self, images: list[np.ndarray]) -> np.ndarray:
        """Scores images; returns float64 `(images,)`."""
        batch = self.collator([{"image": image if image.ndim == 3 else image[None]} for image in images])
        outputs = self.model(**{name: value.to(self.model.device) for name, value in batch.items()})
        flux, masks, painted = in_flux(self.model, batch["pixel_values"], outputs, self.image_processor)
        return masked_errors(painted, flux, masks)


def list_files(sources: list[str]) -> list[str]:
    """List image files, and those in folders by name.

    Raises:
        ValueError: If a folder holds none.
    """
    files: list[str] = []
    for source in sources:
        found = files_in(Path(source), FILE_SUFFIXES) if Path(source).is_dir() else [source]
        if not found:
            raise ValueError(f"{source} holds no file of {', '.join(FILE_SUFFIXES)}.")
        files += found
    return files


def readable(files: list[str], on_error: str) -> Iterator[tuple[str, np.ndarray]]:
    """Read files one by one, and name those that cannot be.

    Raises:
        ValueError: If one cannot be read, unless it is to be skipped.
    """
    for file in tqdm(files, unit="file"):
        try:
            image = read_image_file(Path(file))
        except (OSError, ValueError) as error:
            if on_error == "raise":
                raise ValueError(f"{error} (--on_error skip leaves such files out.)") from error
            logger.warning("Skipped: %s", error)
            continue
        yield file, image


if __name__ == "__main__":
    main()
