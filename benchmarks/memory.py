"""Peak memory of training/simulate.py, for some images and for ten times as many.

    python -m benchmarks.memory [--num_images 1000] [--preset lens_default]

Nothing large is imported here: on Linux a process counts as its own what the one that began it used.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .results import write_results


SCRIPT = Path(__file__).parents[1] / "training" / "simulate.py"


def main() -> None:
    """Prints the peaks and writes results/memory.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=1000)
    parser.add_argument("--preset", default="lens_default")
    arguments = parser.parse_args()
    counts = (arguments.num_images, 10 * arguments.num_images)
    peaks = {f"{count} images": peak_memory(arguments.preset, count) for count in counts}
    for name, peak in peaks.items():
        print(f"{name}: {peak:.0f} MiB", flush=True)
    print(f"Wrote {write_results('memory', {'preset': arguments.preset, 'peak_memory_mib': peaks})}")


def peak_memory(preset: str, num_images: int) -> float:
    """The largest resident memory of a run in one process, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), "--preset", preset, "--num_images", str(num_images)]
        command += ["--num_workers", "1", "--output_dir", str(Path(folder, "lenses"))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed.")
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
