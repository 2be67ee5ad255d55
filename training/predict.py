r"""Apply checkpoints to files: a table of probabilities, anomaly scores and embeddings, or super-resolved files.

    python training/predict.py --checkpoints checkpoints/lens-mae-tiny-64-lens-default --files night/ \
        --scale_to_peak True --output night.csv
    python training/predict.py --checkpoints runs/classify runs/pretrain --files night/ --output night.parquet
    python training/predict.py --checkpoints runs/sr --files night/ --output_dir sharp --save_outputs fits

The anomaly score of a pretraining checkpoint is its mean squared error, in flux, on hidden pixels: large for images
unlike those that it was trained on. A network knows the flux that it was trained on: that of simulated lenses has a
peak of about 1 (in the low resolution of `sr_physical`, two thirds), which `--scale_to_peak` gives a telescope's; a
star brighter than the lens is better cut away.

A run that is stopped, by Ctrl-C or in any other way, goes on when the same command is given again: what it finished
lies in a hidden folder beside the table until that is whole.
"""

import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line import check_at_least, launch, parse_arguments
from outputs import check_coordinates, save_output
from table_parts import WRITERS, TableParts
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from lens_transformers import LensMAEForPreTraining, LensMAEImageProcessor, pipeline
from lens_transformers.data import LensDataCollator, MaskedCollator
from lens_transformers.data.folders import files_in, files_like, is_pattern, suffix_of
from lens_transformers.data.images import fill_missing
from lens_transformers.data.pictures import PICTURE_SUFFIXES
from lens_transformers.data.reading import size_and_time
from lens_transformers.data.report import filled_in_words
from lens_transformers.evaluation.reconstruction import check_blocks, in_flux, masked_errors
from lens_transformers.hub.files import check_path, from_json
from lens_transformers.pipelines import FILE_SUFFIXES, LensClassification, LensSuperResolution, read_image_file
from lens_transformers.report.loading import make_fits_layout


logger = logging.getLogger(__name__)

# The column of a super-resolved image, and then of the file that it was written to.
SHARP = "super_resolved"


@dataclass
class PredictionArguments:
    """What to apply to which files, and where to write what comes out."""

    checkpoints: list[str] = field(
        metadata={"help": "Folders or Hub names: classifiers, pretraining or super-resolution checkpoints."}
    )
    files: list[str] = field(
        metadata={
            "help": "Image files (.npy, FITS, pictures), or folders of them. White of a picture of 8 bits is as "
            "bright as the checkpoint's image processor says."
        }
    )
    output: str | None = field(
        default=None, metadata={"help": "The table to write: .parquet or .csv. Super-resolution alone needs none."}
    )
    output_dir: str | None = field(default=None, metadata={"help": "Where super-resolved files go."})
    save_outputs: str = field(
        default="fits",
        metadata={
            "help": "Kind of the super-resolved files: fits, coordinates scaled, or npy.",
            "choices": ["fits", "npy"],
        },
    )
    embedding: bool = field(
        default=False,
        metadata={"help": "Whether the table has the first checkpoint's embedding. It has to be a LensMAE."},
    )
    on_error: str = field(
        default="raise",
        metadata={"help": "Files that cannot be used: raise, or skip and name them.", "choices": ["raise", "skip"]},
    )
    nan_fill: float | None = field(
        default=None, metadata={"help": "Flux that takes the place of NaN and infinite pixels, before all else."}
    )
    scale_to_peak: bool = field(
        default=False,
        metadata={
            "help": "Whether to divide each image by its brightest pixel, as networks trained on simulated lenses "
            "need it. Super-resolved images have the files' own flux again."
        },
    )
    fits_layout: dict | str | None = field(
        default=None,
        metadata={"help": 'How FITS files hold images, FitsLayout\'s arguments as JSON, such as \'{"hdu": "SCI"}\'.'},
    )
    batch_size: int = field(default=32, metadata={"help": "Images that go through a network at once."})
    seed: int = field(default=0, metadata={"help": "Draws the masks of the anomaly score."})

    def __post_init__(self):
        check_at_least(1, self, "batch_size")
        if self.output is not None and Path(self.output).is_dir():
            raise ValueError(f"--output {self.output} is a folder: give the name of a table, .parquet or .csv.")
        for checkpoint in self.checkpoints:
            check_path(checkpoint)
        self.fits_layout = from_json(self, "fits_layout")
        self.layout = make_fits_layout(self.fits_layout)


def main() -> None:
    """Apply each checkpoint to each file."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    (arguments,) = parse_arguments(PredictionArguments)
    try:
        run(arguments)
    except KeyboardInterrupt:
        sys.exit(f"Stopped; what is finished is kept. Go on with: {shlex.join(['python', *sys.argv])}")


def run(arguments: PredictionArguments) -> None:
    """Apply each checkpoint to each file, a batch at a time.

    Raises:
        ValueError: If there is nowhere to write to, or a file cannot be used and is not to be skipped.
    """
    appliers = load_appliers(arguments)
    files = list_files(arguments.files)
    check_white(files, appliers, arguments.scale_to_peak)
    parts = TableParts(Path(arguments.output or str(arguments.output_dir)), made_by=describe(arguments))
    finished = parts.stamps()
    if strange := finished.keys() - set(files):
        raise ValueError(
            f"{parts.folder} holds what a stopped run on other files finished, such as {min(strange)}. Repeat its "
            "command to go on with it, or delete that folder."
        )
    if changed := [file for file, stamp in finished.items() if tuple(stamp) != size_and_time(file)]:
        raise ValueError(
            f"{parts.folder} holds what a stopped run made of {changed[0]} before that file was changed: delete that "
            "folder to begin anew."
        )
    if finished:
        logger.info("Going on: %d of %d files are done.", len(finished), len(files))
    waiting = [(number, file) for number, file in enumerate(files) if file not in finished]
    with tqdm(total=len(files), initial=len(finished), unit="file") as bar:
        for start in range(0, len(waiting), arguments.batch_size):
            batch = waiting[start : start + arguments.batch_size]
            stamps = {file: size_and_time(file) for _, file in batch}
            rows = predict(batch, appliers, arguments)
            if rows:
                columns = {name: [row[name] for row in rows] for name in rows[0]}
                parts.add(columns, {file: stamps[file] for file in columns["file"]})
            bar.update(len(batch))
    num_done = len(parts)
    if not num_done:
        raise ValueError("None of the files can be used.")
    if arguments.output is not None:
        parts.join(Path(arguments.output))
    parts.remove()
    logger.info("%d of %d files done.", num_done, len(files))


def describe(arguments: PredictionArguments) -> str:
    """What decides what comes out, whatever the files are."""
    names = ["checkpoints", "embedding", "output_dir", "save_outputs"]
    names += ["scale_to_peak", "nan_fill", "fits_layout", "seed"]
    # Names on the Hub have no files here.
    paths = [
        path
        for checkpoint in arguments.checkpoints
        for pattern in ("*.safetensors", "config.json", "preprocessor_config.json")
        for path in sorted(Path(checkpoint).glob(pattern))
    ]
    stamps = {str(path): size_and_time(path) for path in paths}
    return json.dumps({**{name: getattr(arguments, name) for name in names}, "stamps": stamps})


def load_appliers(arguments: PredictionArguments) -> list[Any]:
    """Load what each checkpoint is for.

    Raises:
        ValueError: If there is nowhere to write to, or two would write the same.
    """
    appliers = [load_applier(checkpoint, arguments) for checkpoint in arguments.checkpoints]
    sharpens = [isinstance(applier, LensSuperResolution) for applier in appliers]
    needs_table = arguments.embedding or not all(sharpens)
    if needs_table and arguments.output is None:
        raise ValueError("--output is missing: give the file for the table, .parquet or .csv.")
    if arguments.output is not None and Path(arguments.output).suffix not in WRITERS:
        raise ValueError(f"--output is a file .parquet or .csv for the table, not {arguments.output}.")
    if any(sharpens) and arguments.output_dir is None:
        raise ValueError("--output_dir is missing: give the folder for the super-resolved files.")
    if any(sharpens):
        check_coordinates(arguments.save_outputs, arguments.layout)
    if len({type(applier) for applier in appliers}) < len(appliers):
        raise ValueError("--checkpoints: give one of a kind; the columns of two would have the same names.")
    if arguments.embedding:
        appliers.append(pipeline("embedding", arguments.checkpoints[0], batch_size=arguments.batch_size))
    return appliers


def load_applier(checkpoint: str, arguments: PredictionArguments) -> Any:
    """Load what the checkpoint is for: a pipeline, or the anomaly score.

    Raises:
        ValueError: If it is a checkpoint of another kind.
    """
    (architecture,) = AutoConfig.from_pretrained(checkpoint).architectures or ("no network",)
    if architecture == "LensMAEForPreTraining":
        return AnomalyScore(checkpoint, arguments.seed)
    if architecture == "LensMAEForSuperResolution":
        return pipeline("super-resolution", checkpoint, batch_size=arguments.batch_size)
    if architecture.endswith("ForImageClassification") or architecture == "LensMAEForClassification":
        image_processor = AutoImageProcessor.from_pretrained(checkpoint)
        # Any other than ours makes pictures of flux.
        if isinstance(image_processor, LensMAEImageProcessor):
            model = AutoModelForImageClassification.from_pretrained(checkpoint)
            return LensClassification(model, image_processor, arguments.batch_size)
    raise ValueError(
        f"{checkpoint} holds {architecture}, which run_mae.py, run_classification.py or run_sr.py did not leave there."
    )


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
        """Scores images; returns float64 `(images,)`.

        Raises:
            ValueError: If they are too small to hide anything.
        """
        batch = self.collator([{"image": image if image.ndim == 3 else image[None]} for image in images])
        check_blocks(self.model.config, batch["pixel_values"].shape[2:])
        outputs = self.model(**{name: value.to(self.model.device) for name, value in batch.items()})
        flux, masks, painted = in_flux(self.model, batch["pixel_values"], outputs, self.image_processor)
        return masked_errors(painted, flux, masks)


def list_files(sources: Sequence[str]) -> list[str]:
    """List image files, and those in folders by name, each once.

    Raises:
        FileNotFoundError: If no file fits a pattern.
        ValueError: If a folder holds none.
    """
    files: list[str] = []
    for source in sources:
        if is_pattern(source):
            found = files_like(source)
        else:
            found = files_in(Path(source), FILE_SUFFIXES) if Path(source).is_dir() else [source]
        if not found:
            raise ValueError(f"{source} holds no file of {', '.join(FILE_SUFFIXES)}.")
        files += found
    return list(dict.fromkeys(files))


def check_white(files: Sequence[str], appliers: Sequence[Any], scale_to_peak: bool) -> None:
    """Refuse pictures whose flux would be another for each checkpoint.

    Raises:
        ValueError: If there are some.
    """
    whites = [applier.image_processor.white_flux for applier in appliers]
    fluxes = {"its level" if white is None else f"{white:.4g}" for white in whites}
    pictures = [file for file in files if suffix_of(file) in PICTURE_SUFFIXES]
    if pictures and len(fluxes) > 1 and not scale_to_peak:
        raise ValueError(
            f"{pictures[0]}: the flux of a picture's white is {' or '.join(sorted(fluxes))}, by --checkpoints. Apply "
            "them one by one, or give --scale_to_peak True."
        )


def predict(
    batch: Sequence[tuple[int, str]], appliers: Sequence[Any], arguments: PredictionArguments
) -> list[dict[str, Any]]:
    """Rows of the table for numbered files, in their order, but for those that cannot be used.

    Super-resolved images are written, and stand in the table by the names of their files.

    Raises:
        ValueError: If a file cannot be used and is not to be skipped.
    """
    found = apply_to_files([file for _, file in batch], appliers, arguments)
    sharpener = next((applier for applier in appliers if isinstance(applier, LensSuperResolution)), None)
    rows = []
    for number, file in batch:
        if file not in found:
            continue
        row = {"file": file, **found[file]}
        if sharpener is not None:
            folder, upscale = Path(str(arguments.output_dir)), sharpener.model.config.upscale
            settings = (upscale, arguments.save_outputs, arguments.layout)
            try:
                row[SHARP] = str(save_output(folder, row[SHARP], number, file, *settings))
            except ValueError as error:
                reject(file, error, arguments.on_error)
                continue
        rows.append(row)
    return rows


def apply_to_files(
    files: Sequence[str], appliers: Sequence[Any], arguments: PredictionArguments
) -> dict[str, dict[str, Any]]:
    """What the checkpoints make of each file that can be used, by the names of the columns."""
    white_flux = appliers[0].image_processor.white_flux
    images_of_shape: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
    peaks: dict[str, float] = {}
    for file in files:
        try:
            flux = read_image_file(Path(file), arguments.layout, white_flux)
            image = repaired(flux, file, arguments.nan_fill)
            peaks[file] = peak_of(image) if arguments.scale_to_peak else 1.0
        except (OSError, ValueError) as error:
            reject(file, error, arguments.on_error)
        else:
            images_of_shape.setdefault(image.shape, {})[file] = image / peaks[file]
    found: dict[str, dict[str, Any]] = {}
    for images in images_of_shape.values():
        found |= apply_to_images(images, appliers, arguments.on_error)
    for file, row in found.items():
        if SHARP in row:
            row[SHARP] = row[SHARP] * peaks[file]
    return found


def repaired(image: np.ndarray, file: str, nan_fill: float | None) -> np.ndarray:
    """The image, with `nan_fill` where its flux is NaN or infinite."""
    if nan_fill is None:
        return image
    filled = image.copy()
    for count in fill_missing(filled[None], nan_fill).values():
        logger.info("%s: %s", file, filled_in_words(count, "image", nan_fill))
    return filled


def peak_of(image: np.ndarray) -> float:
    """The flux of the brightest pixel.

    Raises:
        ValueError: If none is positive.
    """
    peak = float(np.max(image, where=~np.isnan(image), initial=-np.inf))
    if not 0 < peak < np.inf:
        raise ValueError(f"--scale_to_peak: the brightest pixel is {peak:g}, by which nothing can be divided.")
    return peak


def apply_to_images(
    images: Mapping[str, np.ndarray], appliers: Sequence[Any], on_error: str
) -> dict[str, dict[str, Any]]:
    """What the checkpoints make of images of one shape, by their files."""
    columns: dict[str, Any] = {}
    try:
        for applier in appliers:
            columns |= columns_of(applier(list(images.values())))
    except ValueError as error:
        if len(images) > 1:  # one of them spoils the batch
            alone = [apply_to_images({file: image}, appliers, on_error) for file, image in images.items()]
            return {file: row for found in alone for file, row in found.items()}
        (file,) = images
        reject(file, error, on_error)
        return {}
    return {file: {name: values[index] for name, values in columns.items()} for index, file in enumerate(images)}


def columns_of(result: Any) -> dict[str, np.ndarray]:
    """Columns of the table, from what a pipeline or an anomaly score gave."""
    if isinstance(result, np.ndarray):
        if result.ndim == 1:
            return {"anomaly_score": result}
        if result.ndim == 4:
            return {SHARP: result}
        return {f"embedding_{index}": column for index, column in enumerate(result.T)}
    return {
        f"probability_{name}": column for name, column in zip(result.class_names, result.probabilities.T, strict=True)
    }


def reject(file: str, error: Exception, on_error: str) -> None:
    """Name a file that cannot be used.

    Raises:
        ValueError: If it is not to be skipped.
    """
    words = str(error) if file in str(error) else f"{file}: {error}"
    if on_error == "raise":
        raise ValueError(
            f"{words} (--on_error skip leaves such files out; what is finished is kept, and need not be done again.)"
        ) from error
    logger.warning("Skipped: %s", words)


if __name__ == "__main__":
    launch(main)
