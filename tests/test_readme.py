"""The README's Python runs as pasted, in a clone."""

import re
from pathlib import Path


README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_lines_run_as_pasted(monkeypatch, capsys):
    monkeypatch.chdir(README.parent)
    (lines,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    namespace: dict = {}
    exec(lines, namespace)
    assert namespace["sharp"].shape == (1, 1, 128, 128)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("no_sub", "cdm", "axion"))
