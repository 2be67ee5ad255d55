"""What more work costs: ten times the images, four times the pixels, and two processes in place of one.

    python -m benchmarks.growth [--num_images 2000]

Ten times the images are simulated by training/simulate.py in one process and in two, whose start does not
count. Four times the pixels are those of a training step of the smallest network, whose memory is counted without that
of what it imports.
"""

import argparse
import tempfile
from pathlib import Path

from .children import ROOT, Cost, run_python
from .results import write_results


PRESET = "lens_default"
SIDES = (64, 128)
# Seconds of processor time of a training step on images of a side.
STEP = """
import sys, time
import torch
from lens_transformers import LensMAE, LensMAEConfig
side = int(sys.argv[1])
model = LensMAE(LensMAEConfig.from_size("tiny", image_size=side)).train()
pixel_values = torch.rand(64, 1, side, side)
seconds = []
for _ in range(4):
    start = time.process_time()
    model(pixel_values).loss.backward()
    seconds.append(time.process_time() - start)
print(min(seconds[1:]))
"""


def main() -> None:
    """Prints what grows and writes results/growth.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=2000)
    arguments = parser.parse_args()
    few, many = arguments.num_images, 10 * arguments.num_images
    start_up = simulate(1)
    costs = {count: simulate(count) for count in (few, many)}
    shared = {count: simulate(count, num_workers=2) for count in (few, many)}
    imported = run_python("-c", "import torch, lens_transformers; lens_transformers.LensMAE").peak_mib
    steps = {side: run_python("-c", STEP, str(side), num_threads=1) for side in SIDES}
    step_seconds = {side: cost.printed_number for side, cost in steps.items()}
    step_mib = {side: cost.peak_mib - imported for side, cost in steps.items()}
    own = {count: cost.cpu_seconds - start_up.cpu_seconds for count, cost in costs.items()}
    results = {
        "ten_times_the_images": {
            "cpu_seconds": {str(count): seconds for count, seconds in own.items()},
            "peak_mib": {str(count): cost.peak_mib for count, cost in costs.items()},
            "time_ratio": own[many] / own[few],
            "memory_ratio": costs[many].peak_mib / costs[few].peak_mib,
        },
        "four_times_the_pixels": {
            "cpu_seconds": {str(side): seconds for side, seconds in step_seconds.items()},
            "peak_mib": {str(side): peak for side, peak in step_mib.items()},
            "time_ratio": step_seconds[SIDES[1]] / step_seconds[SIDES[0]],
            "memory_ratio": step_mib[SIDES[1]] / step_mib[SIDES[0]],
        },
        "two_processes": {
            "seconds": {"1": costs[many].seconds, "2": shared[many].seconds},
            "speed_ratio": (costs[many].seconds - costs[few].seconds) / (shared[many].seconds - shared[few].seconds),
        },
    }
    print(results)
    print(f"Wrote {write_results('growth', results)}")


def simulate(num_images: int, num_workers: int = 1) -> Cost:
    """The cost of a simulated set."""
    with tempfile.TemporaryDirectory() as folder:
        return run_python(
            *[str(ROOT / "training" / "simulate.py"), "--preset", PRESET, "--num_images", str(num_images)],
            *["--num_workers", str(num_workers), "--output_dir", str(Path(folder, "lenses"))],
            num_threads=1,
        )


if __name__ == "__main__":
    main()
