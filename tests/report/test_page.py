"""The page, of evaluations that are made up: tables, tiles, figures, words."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lens_transformers.report.comparing import compare_group
from lens_transformers.report.evaluated import Evaluation, Measured, Table
from lens_transformers.report.page import render_page


OWN = {"name": "LensMAE", "split": "test", "accuracy": 0.9, "ece": 0.02, "intervals": {"accuracy": [0.885, 0.914]}}
BASELINE = {"name": "PCA + logistic", "split": "test", "accuracy": 0.96, "ece": None}


def evaluation(title="Fine-tuned", accuracy=0.9, baselines=(BASELINE,), figures=(), tables=(), **changes):
    results = {
        "task": "classification",
        "title": title,
        "model": {"name": "LensMAE", "size": "tiny", "parameters": 1010435},
        "data": {"preset": "deeplense_model_2", "split": "test", "num_train": 12000, "num_test": 1500},
        "trained_on": "deeplense_model_2",
        "training": {"max_steps": 400, "images_seen": 25600, "train_runtime_s": 61.2},
        "rows": [OWN | {"accuracy": accuracy}, *baselines],
        "versions": {"torch": "2.13.0"},
    }
    scores = np.arange(100) < 100 * accuracy
    return Evaluation(title, results | changes, scores, "accuracy", figures=dict(figures), tables=list(tables))


def page_of(*evaluations, title="Demo", **words):
    return render_page([list(evaluations)], compare_group(evaluations), title, words)


def rows(page):
    """The tables of a page as text, a list of cells a row."""
    lines = re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", line, flags=re.DOTALL) for line in lines]
    return [[re.sub("<small>.*?</small>|<.*?>", "", cell) for cell in line] for line in cells]


def test_an_evaluation_becomes_a_table_with_its_intervals_and_its_baseline():
    page = page_of(evaluation())
    assert rows(page) == [
        ["", "accuracy", "ECE"],
        ["LensMAE", "0.9000", "0.0200"],
        ["PCA + logistic", "0.9600", "not measured"],
    ]
    assert page.count("<small>0.8850 to 0.9140</small>") == 1
    assert '<span class="best">0.9600</span>' in page and page.count('<span class="best">') == 1
    assert page.count('<tr class="own">') == 1
    assert (
        "Accuracy: 0.9000 (95% interval 0.8850 to 0.9140), worse than the best baseline: PCA + logistic, 0.9600."
        in page
    )
    assert "Trained on 12,000 images of deeplense_model_2. Evaluated on 1,500 images of deeplense_model_2" in page


def test_checkpoints_of_a_group_share_one_table_and_are_tested_against_the_first():
    first, second = evaluation("Pretrained", 0.9, group="All labels"), evaluation("From scratch", 0.5)
    page = page_of(first, second)
    assert rows(page)[:4] == [
        ["", "images seen", "train runtime", "accuracy", "ECE"],
        ["Pretrained", "25,600", "61.2 s", "0.9000", "0.0200"],
        ["From scratch", "25,600", "61.2 s", "0.5000", "0.0200"],
        ["PCA + logistic", "", "", "0.9600", "not measured"],
    ]
    assert "<h3>All labels</h3>" in page
    assert "Pretrained minus From scratch, on the same 100 images: accuracy +0.4 (95% interval" in page
    assert "p &lt; 0.001): a difference." in page


def test_checkpoints_that_do_not_differ_are_said_not_to():
    assert "no difference that this many images show" in page_of(evaluation("a"), evaluation("b"))


def test_best_is_among_rows_of_one_split():
    other = {"name": "LensMAE, official images", "split": "official", "accuracy": 0.99}
    page = page_of(evaluation(baselines=(BASELINE, other)))
    assert rows(page)[0] == ["", "split", "accuracy", "ECE"]
    assert '<span class="best">0.9600</span>' in page and "0.9900</span>" in page
    assert '<span class="best">0.9900</span>' not in page


def test_what_knows_the_truth_does_not_compete():
    ceiling = {"name": "Noise-free image", "split": "test", "kind": "ceiling", "accuracy": 0.99}
    page = page_of(evaluation(baselines=(BASELINE, ceiling)))
    assert rows(page)[-1] == ["Noise-free image", "0.9900", "not measured"]
    assert '<span class="best">0.9600</span>' in page and '<span class="best">0.9900</span>' not in page
    assert "worse than the best baseline: PCA + logistic, 0.9600" in page


def test_figures_are_in_the_page_pixel_for_pixel():
    figure = Figure(figsize=(2, 1), dpi=100)
    figure.subplots().imshow(np.random.default_rng(0).random((8, 8)))
    page = page_of(evaluation(figures={"roc": figure, "score_against_subhalo_mass_msun": figure}))
    embedded = re.findall(r'src="data:image/webp;base64,(.*?)" width="(\d+)" height="(\d+)"', page)
    assert len(embedded) == 2
    expected = io.BytesIO()
    figure.savefig(expected, format="png", bbox_inches="tight")
    with Image.open(io.BytesIO(base64.b64decode(embedded[0][0]))) as shown, Image.open(expected) as png:
        assert shown.size == png.size == tuple(map(int, embedded[0][1:]))
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), np.asarray(png.convert("RGB")))
    assert "<figcaption>Against total mass of subhalos [M☉], with 95% intervals</figcaption>" in page


def test_tables_are_shown_with_their_notes():
    worst = [[1234, "cdm", 1.23456e10], [7, Measured(0.5, 0.41, 0.625), float("nan")]]
    table = Table("The worst ten", ["image", "truth", "mass"], worst, "Ten.")
    page = page_of(evaluation(tables=[table]))
    assert rows(page)[-2:] == [["1,234", "cdm", "1.23e+10"], ["7", "0.500", "–"]]
    assert "<td>0.500<small>0.410 to 0.625</small></td>" in page
    assert "<h4>The worst ten</h4>" in page and '<p class="soft">Ten.</p>' in page


def test_a_page_needs_nothing_from_outside():
    page = page_of(evaluation(figures={"roc": Figure()}))
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_markup_in_results_is_shown_and_not_obeyed():
    evil = "<script>alert(1)</script>"
    evaluated = evaluation(
        evil,
        baselines=({"name": evil, "accuracy": 0.1},),
        tables=[Table(evil, [evil], [[evil]], evil)],
        group=evil,
        training={evil: evil},
    )
    tiles = [{"label": evil, "value": evil, "detail": evil, "passed": None}]
    page = page_of(evaluated, evaluated, title=evil, headline=evil, highlights=tiles, next=[evil])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 12


def test_highlights_say_whether_a_goal_was_reached():
    goals = [{"label": "a", "value": "1", "detail": "", "passed": passed} for passed in (True, False)]
    page = page_of(evaluation(), headline="Three tasks", highlights=goals, next=["make test", "make bench"])
    assert page.count("✓ reached") == 1 and page.count("✗ missed") == 1
    assert "<span>Three tasks</span>" in page
    assert "<pre>make test\nmake bench</pre>" in page


def test_without_highlights_the_evaluations_make_them():
    assert '<div class="label">Fine-tuned</div>\n<b>0.9000</b>' in page_of(evaluation())


@pytest.mark.parametrize("task", ["pretraining", "super_resolution"])
def test_each_task_has_a_section(task):
    sections = re.findall("<h2>(.*?)</h2>", page_of(evaluation(task=task)))
    assert sections == [{"pretraining": "Pretraining", "super_resolution": "Super-resolution"}[task]]
