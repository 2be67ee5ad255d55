"""Images a second of training/run_mae.py on Parquet, beside the same steps on data that are already in memory.

    python -m benchmarks.end_to_end [--max_steps 150] [--rounds 2]

Reading, augmenting, scaling, logging and all that Trainer does are in the one and not in the other: its step is the
loss in float32, gradients, their clipping and AdamW, on one batch again and again. Both are seconds of the clock on
one core, or on a GPU.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lens_transformers import LensMAE, LensMAEConfig

from .children import ROOT, run_python
from .data import rings, write_floats
from .results import write_results
from .timing import compare


SIDE = 64
BATCH_SIZE = 64
NUM_IMAGES = 4096


def main() -> None:
    """Prints the row and writes results/end_to_end.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"run_mae": [], "step_in_memory": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images, labels = rings(NUM_IMAGES, SIDE), np.arange(NUM_IMAGES) % 3
        write_floats(folder / "train/data", images[BATCH_SIZE:], labels[BATCH_SIZE:])
        write_floats(folder / "test/data", images[:BATCH_SIZE], labels[:BATCH_SIZE])
        for number in range(arguments.rounds):
            seconds["run_mae"].append(run_mae(folder, folder / f"run{number}", arguments.max_steps))
            seconds["step_in_memory"].append(repeat_step(images, arguments.max_steps))
    results = compare(seconds, BATCH_SIZE * arguments.max_steps, must=0.95, goal=0.99)
    print(results)
    print(f"Wrote {write_results('end_to_end', results)}")


def run_mae(folder: Path, output_dir: Path, max_steps: int) -> float:
    """Seconds that the script trains for."""
    run_python(
        *[str(ROOT / "training" / "run_mae.py"), "--dataset", str(folder / "train"), "--output_dir", str(output_dir)],
        *["--test_dataset", str(folder / "test"), "--augmentation", "dihedral", "--bf16", "False"],
        *["--max_steps", str(max_steps), "--per_device_train_batch_size", str(BATCH_SIZE)],
        num_threads=1,
    )
    return json.loads((output_dir / "results.json").read_text())["training"]["train_runtime_s"]


def repeat_step(images: np.ndarray, max_steps: int) -> float:
    """Seconds of as many steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LensMAE(LensMAEConfig.from_size("tiny")).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    pixel_values = torch.from_numpy(images[:BATCH_SIZE]).to(device)
    start = time.perf_counter()
    for _ in range(max_steps):
        loss = model(pixel_values).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    loss.item()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
