import base64
import importlib.util
import json
import re
from pathlib import Path

import pytest
from PIL import Image


SCRIPT = Path(__file__).parents[2] / "training" / "report.py"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BASELINE = {"name": "PCA + logistic", "split": "test", "accuracy": 0.96, "ece": None}


def make_run(folder, accuracy=0.9, baselines=(BASELINE,), figures=(), **changes):
    folder.mkdir()
    results = {
        "task": "classification",
        "model": {"size": "tiny", "parameters": 1010435},
        "data": {"preset": "deeplense_model_2", "split": "test", "num_train": 12000, "num_test": 1500},
        "training": {"max_steps": 400, "images_seen": 25600, "train_runtime_s": 61.2},
        "rows": [{"name": "LensMAE", "split": "test", "accuracy": accuracy, "ece": 0.02}, *baselines],
        "versions": {"torch": "2.13.0"},
    }
    (folder / "results.json").write_text(json.dumps(results | changes))
    if figures:
        (folder / "figures").mkdir()
    for name in figures:
        Image.new("RGB", (40, 30)).save(folder / "figures" / f"{name}.png")
    return str(folder)


def rows(page):
    """The tables of a page as text, a list of cells a row."""
    lines = re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", line, flags=re.DOTALL) for line in lines]
    return [[re.sub("<.*?>", "", cell) for cell in line] for line in cells]


def test_a_run_becomes_a_table_with_its_baseline(report, tmp_path):
    page = report.render_report([make_run(tmp_path / "run", title="Fine-tuned")], title="Demo")
    assert rows(page) == [
        ["", "accuracy", "ECE"],
        ["LensMAE", "0.9000", "0.0200"],
        ["PCA + logistic", "0.9600", "not measured"],
    ]
    assert '<span class="best">0.9600</span>' in page and page.count('<span class="best">') == 1
    assert page.count('<tr class="own">') == 1
    assert "Accuracy: 0.9000, worse than the best baseline: PCA + logistic, 0.9600." in page
    assert "<h3>Fine-tuned</h3>" in page


def test_runs_of_a_group_share_one_table(report, tmp_path):
    runs = [
        make_run(tmp_path / "a", 0.9, title="Pretrained", group="All labels"),
        make_run(tmp_path / "b", 0.8, title="From scratch", group="All labels"),
        make_run(tmp_path / "c", 0.7, title="Pretrained", group="120 labels", baselines=()),
        make_run(tmp_path / "d", 0.6, title="Alone"),
    ]
    page = report.render_report(runs, title="Demo")
    assert rows(page)[:4] == [
        ["", "images seen", "train runtime", "accuracy", "ECE"],
        ["Pretrained", "25,600", "61.2 s", "0.9000", "0.0200"],
        ["From scratch", "25,600", "61.2 s", "0.8000", "0.0200"],
        ["PCA + logistic", "", "", "0.9600", "not measured"],
    ]
    assert re.findall("<h3>(.*?)</h3>", page) == ["All labels", "120 labels", "Alone"]


def test_best_is_among_rows_of_one_split(report, tmp_path):
    other = {"name": "LensMAE, official images", "split": "official", "accuracy": 0.99}
    page = report.render_report([make_run(tmp_path / "run", baselines=(BASELINE, other))], title="Demo")
    assert rows(page)[0] == ["", "split", "accuracy", "ECE"]
    assert '<span class="best">0.9600</span>' in page and "0.9900</span>" in page
    assert '<span class="best">0.9900</span>' not in page


def test_figures_are_embedded_byte_for_byte(report, tmp_path):
    folder = make_run(tmp_path / "run", figures=["roc", "training_curves"])
    page = report.render_report([folder], title="Demo")
    embedded = re.findall(r'src="data:image/png;base64,(.*?)"', page)
    files = sorted(Path(folder, "figures").iterdir())
    assert [base64.b64decode(data) for data in embedded] == [file.read_bytes() for file in files]
    assert "<figcaption>ROC</figcaption>" in page and "<figcaption>training curves</figcaption>" in page


def test_a_page_needs_nothing_from_outside(report, tmp_path):
    page = report.render_report([make_run(tmp_path / "run", figures=["roc"])], title="Demo")
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_markup_in_results_is_shown_and_not_obeyed(report, tmp_path):
    evil = "<script>alert(1)</script>"
    folder = make_run(
        tmp_path / "run", title=evil, group=evil, baselines=({"name": evil, "accuracy": 0.1},), training={evil: evil}
    )
    extra = tmp_path / "extra.json"
    extra.write_text(json.dumps({"headline": evil, "highlights": [{"label": evil, "value": evil}], "next": [evil]}))
    page = report.render_report([folder], title=evil, extra=str(extra))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_highlights_say_whether_a_goal_was_reached(report, tmp_path):
    extra = tmp_path / "extra.json"
    goals = [{"label": "a", "value": "1", "passed": True}, {"label": "b", "value": "2", "passed": False}]
    extra.write_text(json.dumps({"headline": "Three tasks", "highlights": goals, "next": ["make test", "make bench"]}))
    page = report.render_report([make_run(tmp_path / "run")], title="Demo", extra=str(extra))
    assert page.count("✓ reached") == 1 and page.count("✗ missed") == 1
    assert "<span>Three tasks</span>" in page
    assert "<pre>make test\nmake bench</pre>" in page


def test_without_highlights_the_runs_make_them(report, tmp_path):
    page = report.render_report([make_run(tmp_path / "run", title="Fine-tuned")], title="Demo")
    assert '<div class="label">Fine-tuned</div>\n<b>0.9000</b>' in page


def test_the_command_writes_the_page(report, tmp_path, capsys):
    output = tmp_path / "report.html"
    report.main([make_run(tmp_path / "run"), "--output", str(output), "--title", "Demo"])
    assert output.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run"]
    assert capsys.readouterr().out == f"Wrote {output}: 1 run.\n"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no_results", r"results\.json does not exist"),
        ("bad_figure", r"roc\.png is not a PNG image"),
        ("bad_extra", r"extra\.json: highlights\[0\] must be an object with label and value"),
        ("no_folder", "is not a folder; create it before report.html"),
    ],
)
def test_what_cannot_be_read_or_written_is_said_in_one_line(report, tmp_path, broken, message):
    folder = make_run(tmp_path / "run", figures=["roc"])
    arguments = ["--output", str(tmp_path / ("missing" if broken == "no_folder" else "") / "report.html")]
    if broken == "no_results":
        Path(folder, "results.json").unlink()
    if broken == "bad_figure":
        Path(folder, "figures", "roc.png").write_text("no image")
    if broken == "bad_extra":
        extra = tmp_path / "extra.json"
        extra.write_text('{"highlights": ["fast"]}')
        arguments += ["--extra", str(extra)]
    with pytest.raises(SystemExit, match=message):
        report.main([folder, *arguments])
    assert not (tmp_path / "report.html").exists()
