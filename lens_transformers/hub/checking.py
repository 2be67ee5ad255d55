"""What would travel of a training folder or a data set, and what is wrong with it, before anything is uploaded."""

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from .card import render_model_card
from .dataset_card import is_dataset_folder, render_dataset_card


# What a checkpoint is made of, beside weights and code. Everything else in the folder stays where it is: optimizer
# states, resumable checkpoints, `trainer_state.json` with the machine's paths, and `training_args.bin`, a pickle that
# holds the token of whoever trained.
TRAVELLING = (
    "README.md",
    "all_results.json",
    "config.json",
    "figures/*.png",
    "preprocessor_config.json",
    "results.json",
)
TRAVELLING_DATA = (
    "README.md",
    "contact_sheet_*.png",
    "data/*.parquet",
    "dataset.yaml",
    "simulation.yaml",
)
PICKLES = ("pytorch_model*.bin", "*.ckpt", "*.pkl", "*.pth")

# What is installed wherever transformers loads a model with torch.
AVAILABLE_ELSEWHERE = {"huggingface_hub", "numpy", "safetensors", "torch", "transformers"} | sys.stdlib_module_names
MAX_FILE_BYTES = 50 * 10**9
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")

_SHARD = re.compile(r"data/(\w+)-\d{5}-of-(\d{5})\.parquet")
_CLASS_REFERENCE = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*")


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Attributes:
        files: Files that a push uploads, by their name in the repository.
        problems: A sentence each about what keeps the folder from being pushed; none if it can be.
    """

    files: dict[str, Path]
    problems: list[str]

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(path.stat().st_size for path in self.files.values())


def check(folder: str | Path) -> Check:
    """Says what of a folder would be uploaded, and everything that is wrong with it. Uses no network.

    Args:
        folder: A training run's output folder, or that of a data set.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder; pass the output folder of a training run, or a data set.")
    return _check_dataset(folder) if is_dataset_folder(folder) else _check_run(folder)


def check_checkpoint(folder: str | Path) -> Check:
    """Says the same of a checkpoint of a run that is not measured yet: of its weights, configuration and code."""
    folder, problems = Path(folder), list[str]()
    files = _network_files(folder, problems)
    return Check(files, problems + _file_problems(files))


def _check_run(folder: Path) -> Check:
    problems: list[str] = []
    files = _network_files(folder, problems)
    problems += _card_problems(folder)
    files = dict(sorted((files | _matching(folder, TRAVELLING)).items()))
    return Check(files, problems + _file_problems(files))


def _network_files(folder: Path, problems: list[str]) -> dict[str, Path]:
    """What a network is loaded from."""
    config = _read_json(folder / "config.json", "save the model with `save_pretrained`", problems)
    processor = _read_json(
        folder / "preprocessor_config.json", "save the image processor with `save_pretrained`", problems
    )
    model_type = config.get("model_type")
    is_stock = model_type in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    if config and model_type != "lens_mae" and not is_stock:
        problems.append(
            f"config.json is that of a {model_type!r} model, not of 'lens_mae' or an image classifier of transformers."
        )
    weights = _weights(folder, problems)
    maps = {"config.json": config.get("auto_map"), "preprocessor_config.json": processor.get("auto_map")}
    if is_stock and maps["config.json"] is None:
        del maps["config.json"]  # transformers has the code
    code = _remote_code(folder, maps, problems)
    found = _matching(folder, ("config.json", "preprocessor_config.json"))
    return found | {path.name: path for path in (*weights, *code)}


def _check_dataset(folder: Path) -> Check:
    problems: list[str] = []
    try:
        render_dataset_card(folder)
    except (FileNotFoundError, ValueError) as error:
        problems.append(str(error))
    files = _matching(folder, TRAVELLING_DATA)
    shards = Counter((found[1], int(found[2])) for name in files if (found := _SHARD.fullmatch(name)))
    for (split, total), count in shards.items():
        if count < total:
            problems.append(f"data has {count} of the {total} shards of the split {split}: write the data set again.")
    return Check(files, problems + _file_problems(files))


def _matching(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """Files by their name in the repository, in its order."""
    found = (path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    return dict(sorted((path.relative_to(folder).as_posix(), path) for path in found))


def _read_json(path: Path, remedy: str, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        problems.append(f"{path.name} is missing: {remedy}.")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{path.name} is not JSON: {error}.")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} must hold an object, not {type(content).__name__}.")
        return {}
    return content


def _weights(folder: Path, problems: list[str]) -> list[Path]:
    """The files of weights, and the index that names them where there are several."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    elif index.is_file():
        weight_map = _read_json(index, "", problems).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            problems.append(f"{index.name} names no weights: save the model again.")
            return []
        names = [index.name, *sorted({str(name) for name in weight_map.values()})]
    else:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        problems.append(
            f"The weights are in {', '.join(pickles)}, a pickle, which can run any code when it is loaded. Load them "
            "where you trust them and save them with `model.save_pretrained`, which writes model.safetensors."
            if pickles
            else "model.safetensors is missing: save the model with `save_pretrained`."
        )
        return []
    found = []
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            problems.append(f"{name}, named by {index.name}, is not in the folder.")
            continue
        found.append(folder / name)
        if name != index.name:
            try:
                # Reads the header alone, which says how long the file has to be.
                with safe_open(folder / name, framework="np") as weights:
                    weights.keys()
            except (SafetensorError, OSError) as error:
                problems.append(f"{name} cannot be read, it may be cut off: {error}.")
    return found


def _remote_code(folder: Path, maps: dict[str, Any], problems: list[str]) -> list[Path]:
    """The modules that the `auto_map` of each file names and those that they import from beside them."""
    modules: dict[str, None] = {}
    for file, auto_map in maps.items():
        if not isinstance(auto_map, dict) or not auto_map:
            problems.append(
                f"{file} has no auto_map, so the checkpoint would only load where lens_transformers is installed: "
                "save it again with `save_pretrained`."
            )
            continue
        for auto_class, reference in auto_map.items():
            if isinstance(reference, str) and _CLASS_REFERENCE.fullmatch(reference):
                modules[reference.partition(".")[0]] = None
            else:
                problems.append(
                    f"{file}: auto_map[{auto_class!r}] is {reference!r}; it must be `module.Class` of a module in "
                    "this folder."
                )
    found: list[Path] = []
    queue = list(modules)
    while queue:
        path = folder / f"{queue.pop(0)}.py"
        if path in found:
            continue
        if not path.is_file():
            problems.append(f"{path.name}, which the checkpoint loads its code from, is not in the folder.")
            continue
        found.append(path)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            problems.append(f"{path.name} is no Python: {error}.")
            continue
        for module, is_sibling in _imports(tree):
            if is_sibling and module.isidentifier():
                queue.append(module)
            elif is_sibling or module.partition(".")[0] not in AVAILABLE_ELSEWHERE:
                problems.append(
                    f"{path.name} imports {'.' * is_sibling}{module}, which is not there where only transformers is "
                    "installed: remote code imports torch, transformers, numpy, safetensors and modules beside it."
                )
    return found


def _imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Modules that code cannot run without, and whether they lie beside it; what stands in `try` may fail."""
    for statement in ast.iter_child_nodes(node):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, 0) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.level == 1 and statement.module is None:
            yield from ((alias.name, 1) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            # Of two dots and more, one is left in the name: that leads out of the folder.
            dots, module = max(statement.level - 1, 0), statement.module or ""
            yield "." * dots + module, min(statement.level, 1)
        elif isinstance(statement, ast.stmt) and not isinstance(statement, ast.Try):
            yield from _imports(statement)


def _card_problems(folder: Path) -> list[str]:
    try:
        render_model_card(folder)
    except FileNotFoundError as error:
        # A missing config.json has been reported already.
        return (
            [f"results.json is missing, so the card would have no numbers: {error}"] if "results" in str(error) else []
        )
    except ValueError as error:
        return [str(error)]
    return []


def _file_problems(files: dict[str, Path]) -> list[str]:
    problems = []
    for name, path in files.items():
        if path.stat().st_size > MAX_FILE_BYTES:
            problems.append(
                f"{name} has {path.stat().st_size / 1e9:.0f} GB, more than the Hub's {MAX_FILE_BYTES / 1e9:.0f} GB a "
                "file: save the model with a smaller `max_shard_size`."
            )
        elif path.suffix in (".json", ".md", ".py", ".yaml") and TOKEN.search(
            path.read_text(encoding="utf-8", errors="ignore")
        ):
            problems.append(
                f"{name} contains what looks like an access token (hf_…): take it out, and make the token invalid on "
                "https://huggingface.co/settings/tokens if the file was ever shared."
            )
    return problems
