"""The README's Python runs as pasted, on checkpoints where the demo leaves them."""

import re
from pathlib import Path

import numpy as np

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
)


README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_lines_run_as_pasted(tmp_path, monkeypatch, capsys):
    names = {0: "no_sub", 1: "cdm", 2: "axion"}
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, id2label=names)
    for folder, model, normalization in (
        ("classify", LensMAEForClassification(config), "arcsinh"),
        ("sr_deeplense", LensMAEForSuperResolution(config), "none"),
    ):
        model.save_pretrained(tmp_path / "runs/demo" / folder)
        LensMAEImageProcessor(normalization=normalization).save_pretrained(tmp_path / "runs/demo" / folder)
    np.save(tmp_path / "lens.npy", np.random.default_rng(0).random((75, 70)))
    monkeypatch.chdir(tmp_path)

    (lines,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    namespace: dict = {}
    exec(lines, namespace)
    assert namespace["sharp"].shape == (1, 1, 150, 140)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names.values())
