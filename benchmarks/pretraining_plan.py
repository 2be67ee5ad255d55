"""Which cells the protocol's table is to have, by the `plan` of its recipe."""

from itertools import product
from typing import Any


__all__ = ["PROBES", "key_of", "planned_cells"]

# What an encoder learns before it sees a label: the hidden pixels; an eighth of them at each step; or all of them, and
# the imprint of substructure.
TARGETS = ("pixels", "partial", "imprint")
PROBES = ("linear", "attentive", "knn")
NETWORKS = ("resnet", "scratch", "scratch_total", *TARGETS)
ROWS = {
    "classification": (
        *("pca_raw", "pca_arcsinh", *NETWORKS),
        *(f"{encoder}_{probe}" for encoder in ("random", *TARGETS) for probe in PROBES),
    ),
    "regression": ("pca_ridge", *NETWORKS),
}


def planned_cells(recipe: dict) -> list[dict[str, Any]]:
    """What the plan of a recipe asks for: `task`, `set`, `row`, `fraction` and `seed` of each cell.

    Raises:
        SystemExit: If the plan names a task, a set or a row that there is not.
    """
    keys = []
    for part in recipe["plan"]:
        _check("task", [part["task"]], list(ROWS))
        _check("sets", part["sets"], list(recipe["sets"]))
        transfers = [f"{target}_from_{start}" for target in TARGETS for start in recipe["sets"]]
        _check("rows", part["rows"], [*ROWS[part["task"]], *transfers])
        for set_name, seed, row, fraction in product(*(part[kind] for kind in ("sets", "seeds", "rows", "fractions"))):
            keys.append({"task": part["task"], "set": set_name, "row": row, "fraction": fraction, "seed": seed})
    return keys


def key_of(cell: dict) -> dict[str, Any]:
    """What tells a cell from all others."""
    return {name: cell[name] for name in ("task", "set", "row", "fraction", "seed")}


def _check(kind: str, names: list[str], known: list[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"The plan's {kind} {', '.join(unknown)}: there are {', '.join(known)}.")
