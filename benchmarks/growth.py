"""What more work costs: ten times the images, four times the pixels, and two processes in place of one.

    python -m benchmarks.growth [--num_images 2000]

Ten times the images are simulated by training/simulate.py in one process and in two, whose start does not count; how
their time grows is seen in one process, in turns. Four times the pixels are those of a training step of the smallest
network on 32 images, whose memory is counted without that of what it imports. (Of 64 the larger ones take so much that
glibc gives it back to the system after each step, and pages that are taken anew cost a tenth of the time.) Operations
grow by more than four times, for every patch looks at every other: time is to grow as they do.
"""

import argparse
import json
import tempfile
from pathlib import Path

from .children import ROOT, Cost, run_python
from .results import write_results


PRESET = "lens_default"
SIDES = (64, 128)
ROUNDS = {"images": 3, "steps": 12}
# Of the images that are simulated for their memory, the part that is enough to be timed.
TIMED_PART = 4
# Simulations of so many images each, and training steps on images of such sides, in a process of their own: what they
# import would count for the memory of whatever this one begins.
IMAGES = """
import functools, json, sys
from benchmarks.timing import time_growth
from lens_transformers.simulation import simulate
preset, rounds, *counts = sys.argv[1:]
ways = {count: functools.partial(simulate, preset, int(count)) for count in counts}
print(json.dumps(time_growth(ways, int(rounds))))
"""
STEPS = """
import json, sys
import torch
from benchmarks.timing import count_operations, time_growth
from lens_transformers import LensMAE, LensMAEConfig
def make_step(side, attention="sdpa", num_images=32):
    config = LensMAEConfig.from_size("tiny", image_size=side, attn_implementation=attention)
    model = LensMAE(config).train()
    pixel_values = torch.rand(num_images, 1, side, side)
    return lambda: model(pixel_values).loss.backward()
rounds, *sides = sys.argv[1:]
growth = time_growth({side: make_step(int(side)) for side in sides}, int(rounds))
# Of the fused attention torch counts nothing on a CPU. One image takes no memory to speak of.
operations = {side: count_operations(make_step(int(side), "eager", 1)) for side in sides}
print(json.dumps({**growth, "operations": operations}))
"""


def main() -> None:
    """Prints what grows and writes results/growth.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=2000)
    arguments = parser.parse_args()
    few, many = arguments.num_images, 10 * arguments.num_images
    timed = max(few // TIMED_PART, 1)
    image_times = last_json(grow(IMAGES, PRESET, ROUNDS["images"], timed, 10 * timed))
    costs = {count: simulate(count) for count in (few, many)}
    shared = {count: simulate(count, num_workers=2) for count in (few, many)}
    imported = run_python("-c", "import torch, lens_transformers; lens_transformers.LensMAE").peak_mib
    step_mib = {side: grow(STEPS, 2, side).peak_mib - imported for side in SIDES}
    step_times = last_json(grow(STEPS, ROUNDS["steps"], *SIDES))
    results = {
        "ten_times_the_images": {
            **image_times,
            "peak_mib": {str(count): cost.peak_mib for count, cost in costs.items()},
            "memory_ratio": costs[many].peak_mib / costs[few].peak_mib,
        },
        "four_times_the_pixels": {
            **step_times,
            "operations_ratio": step_times["operations"][str(SIDES[1])] / step_times["operations"][str(SIDES[0])],
            "peak_mib": {str(side): peak for side, peak in step_mib.items()},
            "memory_ratio": step_mib[SIDES[1]] / step_mib[SIDES[0]],
        },
        "two_processes": {
            "seconds": {"1": costs[many].seconds, "2": shared[many].seconds},
            "speed_ratio": (costs[many].seconds - costs[few].seconds) / (shared[many].seconds - shared[few].seconds),
        },
    }
    print(results)
    print(f"Wrote {write_results('growth', results)}")


def last_json(cost: Cost) -> dict:
    """What a process printed last."""
    return json.loads(cost.output.splitlines()[-1])


def grow(program: str, *arguments: str | int) -> Cost:
    """The cost of `IMAGES` or `STEPS`."""
    return run_python("-c", program, *map(str, arguments), num_threads=1)


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
