"""What a page tells of one checkpoint that was evaluated on one data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from matplotlib.figure import Figure

from ..data.schema import IMAGE_COLUMNS
from ..data.simulated import Simulated
from ..simulation import LensSimulationConfig
from ..visualization import plot_score_against_parameter
from ..visualization.parameters import parameter_label


# Of a simulated set, the parameters that decide whether something can be seen, most telling first.
_TELLING = (
    "subhalo_mass_msun",
    "vortex_half_length_arcsec",
    "peak_signal_to_noise",
    "num_subhalos",
    "vortex_mass_msun",
    "einstein_radius_arcsec",
    "source_radius_arcsec",
)
# What these parameters describe is not in every image; a zero says that it is absent.
_ABSENT_AT_ZERO = ("subhalo_mass_msun", "num_subhalos", "vortex_mass_msun")
_MAX_PARAMETERS = 4
# Where an image stands in its split, of which others were drawn as well or not.
ROW_COLUMN = "row_in_split"
NUM_WORST = 10


class Images(NamedTuple):
    """What a checkpoint is evaluated on.

    Attributes:
        test: The images.
        train: The training split of the same source, if it has one.
        are_own: Whether the checkpoint was trained on `train` and tested on `test`.
        simulated: What simulated `test`, where that is known.
    """

    test: Dataset
    train: Dataset | None
    are_own: bool
    simulated: Simulated | None


class Measured(NamedTuple):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, scores: Mapping[str, Any], name: str) -> "Measured":
        """The number of this name that a metric computed."""
        return cls(scores[name], *scores["intervals"][name])


@dataclass
class Table:
    """A table of the page: its name, its columns, and rows of as many numbers, measured or not, or words."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


@dataclass
class Evaluation:
    """A checkpoint and what was measured of it.

    Attributes:
        checkpoint: Its folder or name on the Hub.
        results: As `results.json` has it: `task`, `title`, `model`, `data`, `training`, `versions`, and `rows`, of
            which the first is the checkpoint's and the others its baselines'.
        scores: One number an image, by which checkpoints are compared: right or wrong, a PSNR in dB, an error.
        score_name: What that number is.
        simulation: What simulated the images, where that is known.
        pixel_scale: Arcsec a pixel of the images (of a pair's target), where that is known.
        figures: Figures by name, in the order of the page.
        tables: Further tables.
    """

    checkpoint: str
    results: dict[str, Any]
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    score_name: str = ""
    simulation: LensSimulationConfig | None = None
    pixel_scale: float | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the checkpoint is called."""
        return self.results["title"]

    @property
    def split(self) -> str:
        """The split that its rows name; training names it "test" wherever the images came from."""
        rows = self.results["rows"]
        return rows[0].get("split", "test") if rows else self.results["data"]["split"]


def embed(model: Any, image_processor: Any, dataset: Dataset) -> np.ndarray:
    """One vector an image: what the base model pools, or the mean of what it gives of every place."""
    vectors = []
    for first in range(0, len(dataset), 64):
        images = dataset.select(range(first, min(first + 64, len(dataset))))["image"][:]
        pixel_values = image_processor(list(images), return_tensors="pt").pixel_values
        with torch.inference_mode():
            outputs = model.base_model(pixel_values.to(model.device, model.dtype))
        pooled = outputs.get("pooler_output")
        vectors.append((outputs.last_hidden_state.mean(dim=1) if pooled is None else pooled).flatten(1).float().cpu())
    return torch.cat(vectors).numpy()


def parameters_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """The physical parameters of every image, and what follows from them; NaN where an image has no such thing."""
    columns = {
        name: np.asarray(dataset[name][:], dtype=np.float64)
        for name, feature in dataset.features.items()
        if name not in (*IMAGE_COLUMNS, "label", ROW_COLUMN)
        and getattr(feature, "dtype", "").startswith(("float", "int"))
    }
    for name in _ABSENT_AT_ZERO:
        if name in columns:
            columns[name] = np.where(columns[name] > 0, columns[name], np.nan)
    if "peak_counts" in columns and "background_rms" in columns and "target" not in dataset.features:
        # Of the brightest pixel: photons of source and sky, and the background, all in units of the peak. Of a pair
        # it is the sharper image whose peak is the unit, and the other one that has the noise.
        photons = (1 + columns.get("sky_counts", 0.0) / columns["peak_counts"]) / columns["peak_counts"]
        columns["peak_signal_to_noise"] = 1 / np.sqrt(photons + columns["background_rms"] ** 2)
    return columns


def parameter_figures(
    dataset: Dataset, scores: np.ndarray, score_label: str, chance: float | None = None
) -> dict[str, Figure]:
    """The scores against the parameters that tell most, of those that the set has and that differ between images."""
    figures = {}
    for name, values in parameters_of(dataset).items():
        known = np.flatnonzero(np.isfinite(values))
        if name not in _TELLING or len(np.unique(values[known])) < 2:
            continue
        label = score_label
        if "label" in dataset.features and len(classes := np.unique(dataset["label"][known])) == 1:
            label = f"{score_label}, {dataset.features['label'].int2str(int(classes[0]))}"
        figures[name] = plot_score_against_parameter(values, scores, name, label, chance=chance)
    most_telling = [name for name in _TELLING if name in figures][:_MAX_PARAMETERS]
    return {f"score_against_{name}": figures[name] for name in most_telling}


def worst_table(dataset: Dataset, worst: np.ndarray, columns: dict[str, Any]) -> Table:
    """The worst images with their parameters.

    Args:
        dataset: The images.
        worst: Indices of the worst, worst first; the table has their rows in the split that the images are drawn from.
        columns: What the task says of each of them, by name.
    """
    known = parameters_of(dataset)
    parameters = {name: known[name] for name in _TELLING if name in known}
    numbers = dataset[ROW_COLUMN][:] if ROW_COLUMN in dataset.column_names else np.arange(len(dataset))
    rows = [
        [
            int(numbers[index]),
            *(values[place] for values in columns.values()),
            *(float(p[index]) for p in parameters.values()),
        ]
        for place, index in enumerate(worst)
    ]
    return Table("The worst ten", ["image", *columns, *map(parameter_label, parameters)], rows)
