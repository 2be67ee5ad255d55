"""Results as JSON, with the machine they were measured on and nothing that would name it."""

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path


__all__ = ["FOLDER", "known_results", "machine", "write_results"]

# `python -m benchmarks --quick` has them written elsewhere.
FOLDER = Path(os.environ.get("LENS_BENCHMARK_RESULTS", Path(__file__).with_name("results")))
PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "caustics",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "scikit-image",
    "lenstronomy",
)


def known_results(name: str) -> dict:
    """What `results/<name>.json` has measured; empty where there is none."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else {}


def write_results(name: str, results: dict) -> Path:
    """Writes `results/<name>.json`."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def machine() -> dict:
    """Processor, cores and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    # Imported by whoever uses it, never here: benchmarks of memory begin processes from a small one.
    torch = sys.modules.get("torch")
    has_gpu = torch is not None and torch.cuda.is_available()
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        **({"gpu": torch.cuda.get_device_name()} if has_gpu else {}),
        "python": platform.python_version(),
        "versions": versions,
    }
