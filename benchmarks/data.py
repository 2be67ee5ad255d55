"""Images a second from Parquet on disk to a collated batch, and of the first load of many `.npy` files.

    python -m benchmarks.data [--num_images 2000] [--num_files 30000]

The batches are timed beside transformers' own path in the same run: `ViTImageProcessor` over PIL in `with_transform`,
on the same images as 8-bit PNG: as published, which resizes to 224x224 (`vit_image_processor`), and at the same size
as ours, which no published ViT takes (`vit_image_processor_without_resizing`). All run on one core and are counted in
seconds of processor time. The first load is timed beside a plain loop of `np.load` over the same files, on all cores,
in seconds of the clock.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PilImage
from torch.utils.data import DataLoader
from transformers import ViTImageProcessor

from lens_transformers import LensMAEImageProcessor
from lens_transformers.data import LABEL_NAMES, LensDataCollator, lens_features, load_lensing_dataset
from lens_transformers.data.schema import ROWS_PER_CHUNK, dataset_from_chunks

from .results import write_results
from .timing import time_in_turns


SIZES = (64, 150)
BATCH_SIZE = 64
ROUNDS = 3


def main() -> None:
    """Times both and writes results/data.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=1000, help="images of each size from Parquet to batches")
    parser.add_argument("--num_files", type=int, default=30000, help="64x64 files of the first load")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    results: dict[str, dict] = {"images_per_second_on_one_core": {}, "first_load": {}}
    with tempfile.TemporaryDirectory() as temporary:
        datasets.config.HF_DATASETS_CACHE = Path(temporary) / "cache"
        for size in SIZES:
            row = time_batches(Path(temporary) / str(size), arguments.num_images, size)
            results["images_per_second_on_one_core"][f"{size}x{size}"] = row
            print(f"{size}x{size}:", ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        results["first_load"] = time_first_load(Path(temporary) / "files", arguments.num_files)
        print("first load:", ", ".join(f"{name} {value:.4g}" for name, value in results["first_load"].items()))
    print(f"Wrote {write_results('data', results)}")


def time_batches(folder: Path, num_images: int, size: int) -> dict[str, float]:
    """Images a second of every way; the ways take turns, so that a busy machine slows all of them."""
    images, labels = rings(num_images, size), np.arange(num_images) % 3
    write_floats(folder / "floats/data", images, labels)
    write_pictures(folder / "pictures", images, labels)
    ours = load_lensing_dataset(folder / "floats")
    processor = LensMAEImageProcessor(num_bands=1)
    collator = LensDataCollator(processor, "classification")
    augmenting = LensDataCollator(processor, "classification", "dihedral")
    streamed = load_lensing_dataset(folder / "floats", streaming=True)
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: run(DataLoader(ours, BATCH_SIZE, shuffle=True, collate_fn=collator)),
        "ours_dihedral": lambda: run(DataLoader(ours, BATCH_SIZE, shuffle=True, collate_fn=augmenting)),
        "ours_streamed": lambda: run(DataLoader(streamed, BATCH_SIZE, collate_fn=collator)),
        "vit_image_processor": lambda: run(
            DataLoader(transformed(folder / "pictures", True), BATCH_SIZE, shuffle=True, collate_fn=stack)
        ),
        "vit_image_processor_without_resizing": lambda: run(
            DataLoader(transformed(folder / "pictures", False), BATCH_SIZE, shuffle=True, collate_fn=stack)
        ),
    }
    for name, way in ways.items():
        if way() != num_images:
            raise RuntimeError(f"{name} lost images.")
    row = {name: num_images / min(seconds) for name, seconds in time_in_turns(ways, ROUNDS, warm_up=False).items()}
    others = [name for name in ways if name.startswith("vit")]
    return row | {f"ours_over_{name}": row["ours"] / row[name] for name in others}


def run(loader: DataLoader) -> int:
    """Goes once through a loader and counts its images."""
    return sum(len(batch["labels"]) for batch in loader)


def transformed(folder: Path, resize: bool) -> Dataset:
    """Pictures as the official example scripts load them."""
    processor = ViTImageProcessor(do_resize=resize)

    def transform(rows: dict) -> dict:
        pictures = [picture.convert("RGB") for picture in rows["image"]]
        return {"pixel_values": processor(pictures, return_tensors="pt")["pixel_values"], "label": rows["label"]}

    return datasets.load_dataset("parquet", data_dir=str(folder), split="train").with_transform(transform)


def stack(rows: list[dict]) -> dict[str, torch.Tensor]:
    """The collator of the official example scripts."""
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


def time_first_load(folder: Path, num_files: int) -> dict[str, float]:
    """Seconds of a first load, of one from the cache, and of a loop of `np.load`, all with files in memory."""
    images = rings(300, 64).astype(np.float64)
    paths = [folder / LABEL_NAMES[index % 3] / f"{index}.npy" for index in range(num_files)]
    for name in LABEL_NAMES:
        (folder / name).mkdir(parents=True)
    for index, path in enumerate(paths):
        np.save(path, images[index % len(images), 0])
    seconds = {"np_load_loop_s": math.inf, "first_load_s": math.inf, "cached_load_s": math.inf}
    for number in range(ROUNDS):
        start = time.perf_counter()
        for path in paths:
            np.load(path)
        seconds["np_load_loop_s"] = min(seconds["np_load_loop_s"], time.perf_counter() - start)
        datasets.config.HF_DATASETS_CACHE = folder.with_name(f"cache{number}")
        for name in ("first_load_s", "cached_load_s"):
            start = time.perf_counter()
            load_lensing_dataset(folder)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {"num_files": num_files, **seconds}


def rings(count: int, size: int) -> np.ndarray:
    """Noisy rings of light, which compress about as lenses do."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = rng.uniform(0.3, 0.6, (count, 1, 1))
    centre = rng.uniform(-0.1, 0.1, (2, count, 1, 1))
    images = np.exp(-(((np.hypot(x - centre[0], y - centre[1]) - radius) / 0.1) ** 2))
    return (images + 0.02 * rng.standard_normal(images.shape))[:, None].clip(0, 1).astype(np.float32)


def write_floats(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Images in the lens schema."""
    folder.mkdir(parents=True)
    chunks = (
        {"image": images[start : start + ROWS_PER_CHUNK], "label": labels[start : start + ROWS_PER_CHUNK]}
        for start in range(0, len(images), ROWS_PER_CHUNK)
    )
    dataset_from_chunks(chunks, lens_features(images.shape[1:])).to_parquet(folder / "train-00000-of-00001.parquet")


def write_pictures(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The same images as 8-bit PNG."""
    folder.mkdir(parents=True)
    pictures = [PilImage.fromarray((255 * image[0]).astype(np.uint8)) for image in images]
    features = Features({"image": Image(), "label": ClassLabel(names=list(LABEL_NAMES))})
    Dataset.from_dict({"image": pictures, "label": labels}, features=features).to_parquet(folder / "train.parquet")


if __name__ == "__main__":
    main()
