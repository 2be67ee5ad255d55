"""Commands run as processes of their own, and what they cost.

Nothing large is imported here or by whoever begins such a process to measure its memory: on Linux a process counts as
its own what the one that began it used.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


__all__ = ["ROOT", "Cost", "run_python"]

ROOT = Path(__file__).parents[1]


@dataclass
class Cost:
    """What a process and its own processes took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str

    @property
    def printed_number(self) -> float:
        """The last word that the process printed, behind whatever its libraries warned of."""
        return float(self.output.split()[-1])


def run_python(*arguments: str, num_threads: int | None = None) -> Cost:
    """Runs Python with these arguments in the repository.

    Raises:
        SystemExit: If it fails.
    """
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    if num_threads is not None:
        environment["OMP_NUM_THREADS"] = str(num_threads)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(process.args)} failed:\n{output}")
    # Linux counts in KiB, macOS in bytes.
    peak_mib = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_mib, output)
