"""Runs every benchmark that can run here.

    python -m benchmarks [--data FOLDER]

Without the official samples, the comparison with them is left out.
"""

import argparse
import subprocess
import sys


def main() -> None:
    """Runs them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the official samples")
    arguments = parser.parse_args()
    run("simulation")
    run("memory")
    run("shortcuts")
    run("data")
    if arguments.data is None:
        print("benchmarks.official_samples is left out: it needs the official samples, --data FOLDER.")
    else:
        run("official_samples", arguments.data)


def run(name: str, *arguments: str) -> None:
    """Runs one of them in a process of its own."""
    print(f"\n=== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
