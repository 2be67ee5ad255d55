"""How long it takes until a first line can run: imports, and a network from disk.

    python -m benchmarks.cold_start [--rounds 4]

Every import, and every `from_pretrained`, happens in a process of its own, ours and transformers' in turns. An import
is timed from outside, the start of Python included: of the package alone, whose names load when they are used, and of
the network. Loading is timed from inside, when all has been imported. Files are in memory after the first round.
"""

import argparse
import tempfile
from pathlib import Path

from .children import run_python
from .results import write_results
from .timing import summarize


IMPORTS = {
    "package": {"ours": "import lens_transformers", "transformers": "import transformers"},
    "network": {
        "ours": "from lens_transformers import LensMAE",
        "transformers": "from transformers import ViTMAEForPreTraining",
    },
}
MODELS = {"ours": "full", "transformers": "vit_mae_sdpa"}
SAVE = """
import sys
from benchmarks.training_step import make_model, NETWORKS
for name, folder in zip(sys.argv[2::2], sys.argv[3::2]):
    make_model(NETWORKS[sys.argv[1]][0], name).save_pretrained(folder)
"""
LOAD = """
import sys, time
import torch
from lens_transformers import LensMAE
from transformers import ViTMAEForPreTraining
model_class = {"ours": LensMAE, "transformers": ViTMAEForPreTraining}[sys.argv[1]]
start = time.perf_counter()
model_class.from_pretrained(sys.argv[2])
print(time.perf_counter() - start)
"""


def main() -> None:
    """Prints the seconds and writes results/cold_start.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--network", default="base", help="one of benchmarks/training_step.py")
    arguments = parser.parse_args()
    seconds: dict[str, dict[str, list[float]]] = {
        what: {"ours": [], "transformers": []} for what in (*IMPORTS, "from_pretrained")
    }
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: str(Path(temporary, name)) for name in MODELS}
        run_python("-c", SAVE, arguments.network, *(word for name in MODELS for word in (MODELS[name], folders[name])))
        for _ in range(arguments.rounds):
            for what, lines in IMPORTS.items():
                for name, line in lines.items():
                    seconds[what][name].append(run_python("-c", line).seconds)
            for name, folder in folders.items():
                spent = run_python("-c", LOAD, name, folder).printed_number
                seconds["from_pretrained"][name].append(spent)
    results = {
        what: {
            "seconds": {name: summarize(values) for name, values in times.items()},
            "difference": summarize([own - other for own, other in zip(*times.values(), strict=True)]),
            "ratio": summarize([own / other for own, other in zip(*times.values(), strict=True)]),
        }
        for what, times in seconds.items()
    }
    print(results)
    print(f"Wrote {write_results('cold_start', {'loaded': arguments.network, **results})}")


if __name__ == "__main__":
    main()
