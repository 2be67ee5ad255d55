"""Runs every benchmark that can run here, and writes the table of them all.

    python -m benchmarks [--data FOLDER] [--quick]

Without the official samples, the comparison with them is left out, and `benchmarks.shortcuts` always. `--quick`
measures nothing: it runs all of it on as little as there is, on every core another one, to see that it works, and
leaves the results and the table as they are.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import results


# What each benchmark is given to be quick. Those that start most processes are first: none is left alone at the end.
QUICK = {
    "growth": ("--num_images", "3"),
    "cold_start": ("--rounds", "1", "--network", "tiny"),
    "memory": ("--quick",),
    "end_to_end": ("--max_steps", "2", "--rounds", "1"),
    "simulation": ("--num_images", "3", "--presets", "lens_default", "sr_physical"),
    "training_step": ("--quick",),
    "inference": ("--quick",),
    "super_resolution": ("--quick",),
    "data": ("--num_images", "128", "--num_files", "300"),
    "evaluation": ("--quick",),
    "shortcuts": ("--num_images", "300"),
}
# What each is given else: compiling takes a compiler.
FULL = {"simulation": ("--compile",)} if shutil.which("c++") else {}
# This says nothing of speed, and changes only when the simulator does.
NOT_TIMED = ("shortcuts",)


def main() -> None:
    """Runs them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the official samples")
    parser.add_argument("--quick", action="store_true", help="see that everything works, in two minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(Path(temporary, "results")) if arguments.quick else str(results.FOLDER)
        if arguments.quick:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                runs = [pool.submit(run, name, *quick, folder=folder, quiet=True) for name, quick in QUICK.items()]
            for one in runs:
                one.result()
        else:
            for name in QUICK:
                if name not in NOT_TIMED:
                    run(name, *FULL.get(name, ()), folder=folder)
        if arguments.data is None:
            print("benchmarks.official_samples is left out: it needs the official samples, --data FOLDER.")
        else:
            run("official_samples", arguments.data, folder=folder)
        run("table", folder=folder)


def run(name: str, *arguments: str, folder: str, quiet: bool = False) -> None:
    """Runs one of them in a process of its own; what it prints is shown, if it is `quiet` in one piece at its end."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = {**os.environ, "LENS_BENCHMARK_RESULTS": folder}
    if not quiet:
        print(f"\n=== {name}", flush=True)
        subprocess.run(command, check=True, env=environment)
        return
    finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"\n=== {name}\n{finished.stdout}", flush=True)
    finished.check_returncode()


if __name__ == "__main__":
    main()
