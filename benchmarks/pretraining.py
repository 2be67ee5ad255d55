"""What pretraining brings, by the number of labels: the protocol of pretraining.yaml.

    python -m benchmarks.pretraining [--sets lens_default] [--fractions 0.01] [--seeds 0 1 2] [--rows imprint]
    python -m benchmarks.pretraining --recipe my.yaml --output_dir runs/my_labels

A cell of the table is a row, such as "pretrained + fine-tuned", on a part of a set's labels, with one seed. Those of
the recipe's plan are made, or of it what the flags name. Cells that results/pretraining.json has already are not made
again: it may be stopped at any moment and go on. Everything is simulated: samples of one seed, of which each split has
its own. It takes hours on a CPU, so `python -m benchmarks` leaves it out.

Rows "at equal total" are given as many floating-point operations as pretraining and fine-tuning together.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEImageProcessor,
    LensMAEModel,
)
from lens_transformers.data import LABEL_NAMES, get_augmentation
from lens_transformers.data.simulated import find_simulation
from lens_transformers.evaluation import ClassificationMetric, pca_logistic_rows
from lens_transformers.simulation import simulate

from .learning import DEVICE, NUM_MEASURED, PRECISION, Cost, Schedule, count_flops, embed, learn, predict
from .peers import ResNet, SmallResNetConfig
from .pretraining_plan import PROBES, key_of, planned_cells
from .results import FOLDER, known_results, machine, write_results
from .training_step import PREDICTION_RATIO


NAME = "pretraining"
RECIPE = Path(__file__).with_name(f"{NAME}.yaml")
# Labelled images that linear models are fitted to, at the most.
MAX_LINEAR = 12_000
STRETCH = 0.02
NUM_NEIGHBOURS = 20


def main() -> None:
    """Makes the cells that are missing, and writes each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--tasks", nargs="+", help="of the plan, as what follows; default: all")
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--rows", nargs="+")
    parser.add_argument("--fractions", nargs="+", type=float)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/pretraining"), help="for encoders")
    arguments = parser.parse_args()
    recipe = yaml.safe_load(arguments.recipe.read_text(encoding="utf-8"))
    chosen = {name: getattr(arguments, f"{name}s") for name in ("task", "set", "row", "fraction", "seed")}
    keys = [
        key
        for key in planned_cells(recipe)
        if all(values is None or key[name] in values for name, values in chosen.items())
    ]
    if not keys:
        raise SystemExit(f"The plan of {arguments.recipe} has no such cells.")
    for set_name in recipe["sets"]:
        study = Study(recipe, set_name, arguments.output_dir)
        for key in keys:
            if key["set"] != set_name or key in (key_of(cell) for cell in read_cells(recipe)):
                continue
            measured = study.make_cell(key["task"], key["row"], key["fraction"], key["seed"])
            cell = {**key, "processor": machine()["processor"], "precision": PRECISION, **measured}
            # Read again: another process may have made others meanwhile.
            write_results(NAME, {"recipe": recipe, "cells": [*read_cells(recipe), cell]})
            print({name: value for name, value in cell.items() if name != "intervals"}, flush=True)


def read_cells(recipe: dict) -> list[dict]:
    """The cells that are there.

    Raises:
        SystemExit: If they were measured in another way than the recipe's.
    """
    results = known_results(NAME) or {"recipe": recipe, "cells": []}
    ways = [{name: value for name, value in one.items() if name != "plan"} for one in (results["recipe"], recipe)]
    if ways[0] != ways[1]:
        raise SystemExit(f"{FOLDER / NAME}.json has the cells of another recipe: move it away to begin anew.")
    return results["cells"]


class Study:
    """One set, and what learns it.

    Args:
        recipe: The protocol.
        name: Of the set.
        output_dir: Where pretrained encoders are left, and looked for.
    """

    def __init__(self, recipe: dict, name: str, output_dir: Path):
        self.recipe = recipe
        self.name = name
        self.output_dir = output_dir
        self.settings = recipe["sets"][name]
        self.augmentation = get_augmentation(self.settings["augmentation"])
        self.schedules = {name: Schedule(**recipe[name]) for name in ("pretraining", "fine_tuning", "probe")}
        # Of the encoder that was asked for last: its probes come one after the other.
        self._embedded = lru_cache(maxsize=1)(self._embed)
        self._pca_rows = lru_cache(self._make_pca_rows)

    @cached_property
    def lenses(self) -> dict[str, Any]:
        """The simulated images to train and to test on."""
        lenses = {}
        for split in ("train", "test"):
            simulated = find_simulation(f"simulate:{self.settings['preset']}", split)
            config, start = simulated.config, simulated.first_sample
            if "instrument" in self.settings:
                config = config.observed_by(self.settings["instrument"])
            count = self.settings[f"num_{split}"]
            lenses[split] = simulate(config, count, start=start, imprint=split == "train", progress=True)
        return lenses

    @cached_property
    def image_processor(self) -> LensMAEImageProcessor:
        """With constants measured on training images."""
        images, side = self.lenses["train"].image, self.settings.get("side")
        resizing = {"do_resize": True, "size": {"height": side, "width": side}} if side else {}
        settings = {"normalization": "arcsinh", "stretch": STRETCH, "num_bands": images.shape[1]}
        return LensMAEImageProcessor.measured_on(images[:NUM_MEASURED], **settings, **resizing)

    @cached_property
    def images(self) -> dict[str, torch.Tensor]:
        """What networks see, by split; and the `imprint` of the training images, scaled alike."""
        sources = {split: lenses.image for split, lenses in self.lenses.items()}
        sources["imprint"] = self.lenses["train"].imprint
        return {name: self._process(images) for name, images in sources.items()}

    def _process(self, images: torch.Tensor) -> torch.Tensor:
        parts = [self.image_processor(part, return_tensors="pt").pixel_values for part in images.split(1000)]
        return torch.cat(parts)

    def make_config(self, **settings: Any) -> LensMAEConfig:
        """Of the network for these images."""
        bands, *size = self.images["train"].shape[1:]
        return LensMAEConfig.from_size(
            **self.recipe["network"], image_size=tuple(size), num_channels=bands, **settings
        )

    def make_cell(self, task: str, row: str, fraction: float, seed: int) -> dict[str, Any]:
        """Measures a row."""
        rows = self._labelled(fraction, seed)
        shown = f"{self.name}, {row}, {fraction:g} of the labels, seed {seed}"
        if row.startswith("pca_") and task == "classification":
            return {"num_labelled": len(rows), **self._pca_rows(fraction, seed)[row]}
        measure = self._classify if task == "classification" else self._regress
        return {"num_labelled": len(rows), **measure(row, torch.from_numpy(rows), seed, shown)}

    def _make_pca_rows(self, fraction: float, seed: int) -> dict[str, dict[str, Any]]:
        """Both of them: one is hardly made without the other."""
        rows = torch.from_numpy(self._labelled(fraction, seed))
        pixels = [self.lenses["train"].image[rows].numpy(), self.lenses["train"].label[rows].numpy()]
        pixels += [self.lenses["test"].image.numpy(), self.lenses["test"].label.numpy()]
        raw, stretched = pca_logistic_rows(*pixels, stretch=STRETCH, max_train=MAX_LINEAR, seed=seed)
        return {"pca_raw": _kept(raw), "pca_arcsinh": _kept(stretched)}

    def _labelled(self, fraction: float, seed: int) -> np.ndarray:
        """Rows of the training images that have labels."""
        labels = self.lenses["train"].label.numpy()
        rows = np.arange(len(labels))
        if fraction < 1:
            count = round(fraction * len(labels))
            rows, _ = train_test_split(rows, train_size=count, stratify=labels, random_state=seed)
        return rows

    def _classify(self, row: str, rows: torch.Tensor, seed: int, shown: str) -> dict[str, Any]:
        labels = {split: lenses.label for split, lenses in self.lenses.items()}
        train, train_labels = self.images["train"][rows], labels["train"][rows]
        if row.rpartition("_")[2] in PROBES:
            encoder, _, probe = row.rpartition("_")
            probabilities, costs = self._probe(encoder, probe, rows, seed, shown)
        else:
            model, costs = self._start(row, seed, len(LABEL_NAMES))
            costs["learning"] = self._tune(model, row, (train, train_labels), _cross_entropy, seed, shown)
            probabilities = predict(model, train, self.images["test"]).softmax(-1)
        metric = ClassificationMetric(LABEL_NAMES)
        scores = metric.compute(predictions=probabilities.numpy(), references=labels["test"].numpy())
        return {**_kept(scores), "costs": {name: cost.as_dict() for name, cost in costs.items()}}

    def _regress(self, row: str, rows: torch.Tensor, seed: int, shown: str) -> dict[str, Any]:
        names = self.recipe["regression"]
        values = {
            split: torch.stack([lenses.parameters[name] for name in names], dim=1).float()
            for split, lenses in self.lenses.items()
        }
        train = values["train"][rows]
        mean = train.nanmean(dim=0)
        deviation = (train - mean).square().nanmean(dim=0).sqrt()
        targets = (train - mean) / deviation
        costs: dict[str, Cost] = {}
        if row == "pca_ridge":
            predicted = self._ridge(rows, targets)
        else:
            model, costs = self._start(row, seed, len(names))
            columns = (self.images["train"][rows], targets)
            costs["learning"] = self._tune(model, row, columns, _squared_error, seed, shown)
            predicted = predict(model, columns[0], self.images["test"])
        predicted, tested = predicted * deviation + mean, values["test"]
        known = ~tested.isnan()
        scores = {
            f"r2_{name}": r2_score(tested[known[:, column], column], predicted[known[:, column], column])
            for column, name in enumerate(names)
        }
        return {**scores, "costs": {name: cost.as_dict() for name, cost in costs.items()}}

    def _ridge(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        pixels = {split: self.images[split].flatten(1).numpy() for split in ("train", "test")}
        rows = rows[:MAX_LINEAR]
        predicted = []
        for column in targets[:MAX_LINEAR].T:
            known = ~column.isnan()
            train = pixels["train"][rows[known]]
            # As many components as images would leave the last of them without variance to standardise by.
            components = PCA(min(100, len(train) // 2), svd_solver="randomized", random_state=0)
            model = make_pipeline(components, StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
            predicted.append(torch.from_numpy(model.fit(train, column[known]).predict(pixels["test"])))
        return torch.stack(predicted, dim=1).float()

    def _start(self, row: str, seed: int, num_outputs: int) -> tuple[Any, dict[str, Cost]]:
        """The network of a row as it is before it sees a label, and what that took."""
        torch.manual_seed(seed)
        config = self.make_config(num_labels=num_outputs)
        if row == "resnet":
            return ResNet(SmallResNetConfig(config.num_channels, num_labels=num_outputs)), {}
        model = LensMAEForClassification(config)
        if row in ("scratch", "scratch_total"):
            return model, {}
        target, _, start = row.partition("_from_")
        study = Study(self.recipe, start, self.output_dir) if start else self
        pretrained, cost = study.pretrain(target, seed)
        # Positions are no weights: they are those of this set's images.
        model.lens_mae.load_state_dict(pretrained.state_dict())
        return model, {"pretraining": cost}

    def _tune(
        self, model: nn.Module, row: str, columns: tuple[torch.Tensor, ...], loss_of: Callable, seed: int, shown: str
    ) -> Cost:
        schedule = self.schedules["fine_tuning"]
        if row in ("resnet", "scratch_total"):
            flops = self._flops(model, columns, loss_of)
            schedule = replace(schedule, num_steps=round(self._total_flops / flops))
        return learn(model, schedule, columns, loss_of, seed, self.augmentation, shown)

    def _flops(self, model: nn.Module, columns: tuple[torch.Tensor, ...], loss_of: Callable) -> int:
        batch = [column[: self.schedules["fine_tuning"].batch_size] for column in columns]
        # A batch that is too small for its whole size counts as if it had it.
        share = len(batch[0]) / self.schedules["fine_tuning"].batch_size
        model.to(DEVICE)
        return round(count_flops(model, lambda: loss_of(model, *(part.to(DEVICE) for part in batch))) / share)

    @cached_property
    def _total_flops(self) -> float:
        """Of pretraining, which is the costlier one with an imprint, and of fine-tuning."""
        tuned, pretrained = (
            LensMAEForClassification(self.make_config(num_labels=3)),
            self._make_pretraining("imprint", 0),
        )
        columns = (self.images["train"], self.lenses["train"].label)
        tuning, pretraining = self.schedules["fine_tuning"], self.schedules["pretraining"]
        batch = [self.images[name][: pretraining.batch_size].to(DEVICE) for name in ("train", "imprint")]
        flops = count_flops(pretrained, lambda: _painting_loss(pretrained, *batch))
        return flops * pretraining.num_steps + self._flops(tuned, columns, _cross_entropy) * tuning.num_steps

    def _make_pretraining(self, target: str, seed: int) -> LensMAEForPreTraining:
        torch.manual_seed(seed)
        settings: dict[str, Any] = {}
        if target == "partial":
            settings = {"prediction_ratio": PREDICTION_RATIO}
        elif target == "imprint":
            settings = {
                "imprint_loss_weight": self.recipe["imprint_loss_weight"],
                "imprint_std": self.images["imprint"][:NUM_MEASURED].std().item(),
            }
        return LensMAEForPreTraining(self.make_config(**settings)).to(DEVICE)

    def pretrain(self, target: str, seed: int) -> tuple[LensMAEModel, Cost]:
        """The encoder that has learned all training images without their labels."""
        folder = self.output_dir / f"{self.name}_{target}_seed_{seed}"
        if not (folder / "cost.json").is_file():
            model = self._make_pretraining(target, seed)
            columns = (self.images["train"], self.images["imprint"])
            if target != "imprint":
                columns = columns[:1]
            shown = f"{self.name}, pretraining on {target}, seed {seed}"
            cost = learn(model, self.schedules["pretraining"], columns, _painting_loss, seed, self.augmentation, shown)
            model.save_pretrained(folder)
            (folder / "cost.json").write_text(json.dumps(cost.as_dict()), encoding="utf-8")
        cost = Cost(**json.loads((folder / "cost.json").read_text(encoding="utf-8")))
        return LensMAEModel.from_pretrained(folder), cost

    def _probe(
        self, encoder: str, probe: str, rows: torch.Tensor, seed: int, shown: str
    ) -> tuple[torch.Tensor, dict[str, Cost]]:
        """Probabilities of test images, by what frozen features know of the classes."""
        embedded = self._embedded(encoder, seed)
        costs = dict(embedded.costs)
        pooled, tokens = (part[rows] for part in embedded.train)
        test_pooled, test_tokens = embedded.test
        labels = self.lenses["train"].label[rows]
        if probe == "attentive":
            torch.manual_seed(seed)
            head = AttentiveProbe(tokens.shape[-1], len(LABEL_NAMES))
            costs["learning"] = learn(
                head, self.schedules["probe"], (tokens, labels), _cross_entropy, seed, description=shown
            )
            return predict(head, tokens, test_tokens).softmax(-1), costs
        neighbours = KNeighborsClassifier(min(NUM_NEIGHBOURS, len(rows)))
        classifier = LogisticRegression(max_iter=1000) if probe == "linear" else neighbours
        fitted = make_pipeline(StandardScaler(), classifier).fit(pooled.numpy(), labels.numpy())
        return torch.from_numpy(fitted.predict_proba(test_pooled.numpy())), costs

    def _embed(self, encoder: str, seed: int) -> "Embedded":
        """What a frozen encoder makes of all images."""
        costs: dict[str, Cost] = {}
        if encoder == "random":
            torch.manual_seed(seed)
            network = LensMAEModel(self.make_config())
        else:
            network, costs["pretraining"] = self.pretrain(encoder, seed)
        return Embedded(embed(network, self.images["train"]), embed(network, self.images["test"]), costs)


@dataclass(frozen=True)
class Embedded:
    """Pooled vectors and tokens of the images of each split, and what the encoder took to learn them."""

    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    costs: dict[str, Cost]


class AttentiveProbe(nn.Module):
    """A query that is learned looks at all tokens, and a linear map tells the class of what it sees."""

    def __init__(self, hidden_size: int, num_labels: int, num_heads: int = 4):
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, hidden_size))
        self.norm = nn.LayerNorm(hidden_size)
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, batch_first=True)
        self.classifier = nn.Linear(hidden_size, num_labels)

    def forward(self, tokens: torch.Tensor) -> "ProbeOutput":
        """Classifies tokens `(batch, patches, hidden_size)`."""
        tokens = self.norm(tokens.float())
        seen, _ = self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)
        return ProbeOutput(self.classifier(seen[:, 0]))


class ProbeOutput:
    """Logits, where a model of transformers has them."""

    def __init__(self, logits: torch.Tensor):
        self.logits = logits


def _kept(scores: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: scores[name] for name in ("accuracy", "auc_macro", *(f"auc_{label}" for label in LABEL_NAMES), "ece")
    }
    return {**kept, "intervals": {name: scores["intervals"][name] for name in kept}}


def _cross_entropy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(images).logits.float(), labels)


def _squared_error(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    known = ~targets.isnan()
    return (model(images).logits.float()[known] - targets[known]).square().mean()


def _painting_loss(
    model: LensMAEForPreTraining, images: torch.Tensor, imprint: torch.Tensor | None = None
) -> torch.Tensor:
    return model(images, imprint=imprint).loss


if __name__ == "__main__":
    main()
