"""The pretraining protocol on a handful of images: what is compared is comparable, and nothing is made twice."""

import json
import sys

import pytest
import yaml

from benchmarks import pretraining, results
from benchmarks.pretraining_table import pretraining_claim, pretraining_tables, words_of


STEPS = {"batch_size": 4, "learning_rate": 1e-3, "adam_beta2": 0.99}
RECIPE = {
    "sets": {
        "here": {"preset": "lens_default", "num_train": 60, "num_test": 30, "augmentation": "dihedral"},
        "there": {"preset": "deeplense_model_2", "num_train": 30, "num_test": 12, "side": 32, "augmentation": "none"},
    },
    "network": {"size": "tiny", "stem_hidden_size": 8},
    "imprint_loss_weight": 2.0,
    "pretraining": {"num_steps": 3, **STEPS},
    "fine_tuning": {"num_steps": 2, **STEPS},
    "probe": {"num_steps": 2, **STEPS},
    "regression": ["einstein_radius_arcsec", "axion_mass_log10_ev"],
    "plan": [
        {
            "task": "classification",
            "sets": ["here"],
            "rows": [
                *("pca_arcsinh", "resnet", "scratch", "scratch_total", "partial", "imprint", "imprint_from_there"),
                *("random_linear", "random_attentive", "random_knn", "pixels"),
            ],
            "fractions": [1.0, 0.5],
            "seeds": [0],
        },
        {"task": "regression", "sets": ["here"], "rows": ["pca_ridge", "imprint"], "fractions": [0.5], "seeds": [0]},
    ],
}
CHECKED = ["pca_arcsinh", "resnet", "scratch", "scratch_total", "partial", "imprint", "imprint_from_there"]
CHECKED += ["random_linear", "random_attentive", "random_knn"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")

    def run(*flags, recipe=RECIPE):
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        flags = ["--recipe", str(folder / "recipe.yaml"), "--output_dir", str(folder / "runs"), *map(str, flags)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["pretraining", *flags])
            patch.setattr(results, "FOLDER", folder)
            patch.setattr(pretraining, "FOLDER", folder)
            pretraining.main()
        return json.loads((folder / "pretraining.json").read_text())["results"]

    return run


@pytest.fixture(scope="module")
def made(run):
    run("--tasks", "regression")
    return run("--sets", "here", "--fractions", 0.5, "--tasks", "classification", "--rows", *CHECKED)


def cell(made, row, task="classification"):
    (found,) = [cell for cell in made["cells"] if (cell["task"], cell["row"]) == (task, row)]
    return found


def test_every_row_is_measured_on_the_same_labels(made):
    assert {cell["num_labelled"] for cell in made["cells"]} == {30}
    assert all(0 <= cell["accuracy"] <= 1 for cell in made["cells"] if cell["task"] == "classification")
    regressed = cell(made, "pca_ridge", "regression")
    assert regressed["r2_einstein_radius_arcsec"] > 0.5 > regressed["r2_axion_mass_log10_ev"]


def test_equal_total_is_the_arithmetic_of_pretraining_and_fine_tuning(made):
    tuned, scratch = cell(made, "imprint")["costs"], cell(made, "scratch")["costs"]
    assert tuned["learning"]["petaflop"] == scratch["learning"]["petaflop"] > 0
    assert tuned["pretraining"]["images"] == 12 and tuned["learning"]["images"] == 8
    total = tuned["pretraining"]["petaflop"] + tuned["learning"]["petaflop"]
    for row in ("resnet", "scratch_total"):
        spent = cell(made, row)["costs"]["learning"]
        assert spent["petaflop"] == pytest.approx(total, abs=0.6 * spent["petaflop"] / spent["steps"])


def test_cells_that_are_there_are_not_made_again(made, run, monkeypatch):
    monkeypatch.setattr(pretraining.Study, "make_cell", None)
    flags = ("--sets", "here", "--fractions", 0.5, "--tasks", "classification")
    assert run(*flags, "--rows", "imprint", "resnet") == made
    with pytest.raises(TypeError):
        run(*flags, "--rows", "pixels")
    with pytest.raises(SystemExit, match="cells of another recipe"):
        run(recipe={**RECIPE, "imprint_loss_weight": 1.0})


def test_flags_choose_cells_of_the_plan_and_a_plan_may_grow(made, run, monkeypatch):
    seen = []
    monkeypatch.setattr(pretraining.Study, "make_cell", lambda study, *key: seen.append((study.name, *key)) or {})
    monkeypatch.setattr(pretraining, "write_results", lambda name, results: None)
    (first, second) = RECIPE["plan"]
    grown = {**RECIPE, "plan": [{**first, "seeds": [0, 1]}, {**second, "sets": ["here", "there"]}]}
    run("--seeds", 1, "--rows", "imprint", recipe=grown)
    run("--tasks", "regression", recipe=grown)
    assert seen == [
        ("here", "classification", "imprint", 1.0, 1),
        ("here", "classification", "imprint", 0.5, 1),
        ("there", "regression", "pca_ridge", 0.5, 0),
        ("there", "regression", "imprint", 0.5, 0),
    ]
    with pytest.raises(SystemExit, match="has no such cells"):
        run("--seeds", 2)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": ["imprints"]}, "The plan's rows imprints: there are pca_ridge, resnet,"),
        ({"sets": ["nowhere"]}, "The plan's sets nowhere: there are here, there."),
        ({"task": "segmentation"}, "The plan's task segmentation: there are classification, regression."),
    ],
)
def test_a_plan_of_what_there_is_not_is_refused_before_anything_is_simulated(run, changed, words):
    with pytest.raises(SystemExit, match=words):
        run(recipe={**RECIPE, "plan": [{**RECIPE["plan"][1], **changed}]})


def test_minutes_are_those_of_one_precision_and_the_table_counts_what_it_lacks(made):
    trained = cell(made, "imprint")
    assert trained["precision"] == pretraining.PRECISION
    spent = {name: {**cost, "minutes": 1000.0} for name, cost in trained["costs"].items()}
    other = {**trained, "seed": 1, "precision": "float8", "costs": spent}
    text = "".join(pretraining_tables({"recipe": RECIPE, "cells": [*made["cells"], other]}))
    assert f" in {pretraining.PRECISION}. " in text and "12 of 24 cells." in text
    assert "1e+03" not in text


def test_the_table_has_a_mean_and_spread_of_seeds_and_a_gap_for_what_is_missing(made):
    again = [
        {**cell, "seed": 1, "accuracy": cell["accuracy"] + 0.2} for cell in made["cells"] if cell["row"] == "resnet"
    ]
    other = [{**cell(made, "scratch"), "fraction": 1.0}]
    text = "".join(pretraining_tables({**made, "cells": [*made["cells"], *again, *other]}))
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {words_of('resnet')}") and "/" in line]
    assert line.split("|")[2].strip() == ""
    assert line.split("|")[3].startswith(f" {cell(made, 'resnet')['accuracy'] + 0.1:.3f} ± 0.141 / ")
    assert line.endswith("| 0, 1 |")
    assert "pretrained on pixels and imprint of `there`, fine-tuned" in text


def test_the_claim_says_where_pretraining_pays_and_where_not_with_the_best_of_the_rest(made):
    accuracies = {"imprint": 0.8, "scratch_total": 0.5, "resnet": 0.6, "pca_arcsinh": 0.4}
    # Of two that are the best of the rest alike the first is named, whatever the order of the cells.
    accuracies["pca_arcsinh"] = accuracies["resnet"]
    cells = [{**cell(made, row), "accuracy": accuracy} for row, accuracy in reversed(accuracies.items())]
    # A second seed of the ResNet, which spreads by more than the lead.
    level = [{**one, "fraction": 1.0, "num_labelled": 60} for one in cells]
    level.append({**level[1], "accuracy": 0.95, "seed": 1})
    text = pretraining_claim({"recipe": RECIPE, "cells": [*cells, *level]})
    assert text == (
        "In accuracy, by the part of the labels and at equal total arithmetic, pretraining on pixels and imprint pays "
        "on `here` with 50% (0.800 against 0.600 by a ResNet). It does not pay, or by no more than the spread of "
        "seeds, on `here` with 100% (0.800 against 0.775 ± 0.247 by a ResNet)."
    )
    elsewhere = [{**one, "set": "there"} for one in level]
    assert "by a ResNet); on `there` with 100% (0.8" in pretraining_claim(
        {"recipe": RECIPE, "cells": [*elsewhere, *cells, *level]}
    )
    assert pretraining_claim({"recipe": RECIPE, "cells": []}) == ""


def test_rows_stand_in_the_order_of_their_names_whichever_was_made_first(made):
    text = "".join(pretraining_tables({"recipe": RECIPE, "cells": made["cells"][::-1]}))
    rows = ["pca_arcsinh", "resnet", "scratch", "scratch_total", "random_linear", "random_knn"]
    rows += ["partial", "imprint", "imprint_from_there"]
    places = [text.index(f"| {words_of(row)} |") for row in rows]
    assert places == sorted(places)


def test_the_network_is_a_size_with_what_sets_it_apart(made, tmp_path):
    study = pretraining.Study(RECIPE, "here", tmp_path)
    assert study.make_config(num_labels=3).stem_hidden_size == 8
    text = "".join(pretraining_tables({"recipe": RECIPE, "cells": made["cells"]}))
    assert "Ours is of size `tiny` but for its `stem_hidden_size` 8." in text
    plain = {**RECIPE, "network": {"size": "small"}}
    assert "Ours is of size `small`." in "".join(pretraining_tables({"recipe": plain, "cells": made["cells"]}))


def test_details_have_each_class_and_the_calibration(made):
    cells = [{**one, "fraction": 0.1} for one in made["cells"]]
    text = "".join(pretraining_tables({"recipe": RECIPE, "cells": cells}))
    for row in ("pca_arcsinh", "imprint"):
        (shown,) = [line for line in text.splitlines() if line.startswith(f"| {words_of(row)} | 10% | 1 |")]
        for metric in ("accuracy", "auc_macro", "auc_no_sub", "auc_cdm", "auc_axion", "ece"):
            low, high = cell(made, row)["intervals"][metric]
            assert f"| {cell(made, row)[metric]:.4g} [{low:.4g}, {high:.4g}]" in shown
