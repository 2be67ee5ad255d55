"""Evaluate checkpoints on images and write one page about them.

python -m lens_transformers.evaluation report runs/dm --dataset lenses --output report.html
python -m lens_transformers.evaluation report runs/a runs/b --dataset lenses --output comparison.html
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status, 0 if all is well."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1


def _report(options: argparse.Namespace) -> int:
    # The report stands on this room: the room must not need it.
    from ..report import write_report

    page = write_report(
        options.checkpoints,
        options.output,
        options.dataset,
        split=options.split,
        title=options.title,
        words=_read_words(options.words) if options.words else None,
        brief=options.brief,
        figures=options.figures,
    )
    print(f"Wrote {page} and {page.with_suffix('.json').name}.")
    return 0


def _read_words(path: Path) -> dict[str, Any]:
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(words, dict):
        raise ValueError(f"{path} must hold an object with headline, highlights or next, got {words!r}.")
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lens_transformers.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    command = commands.add_parser("report", help="evaluate checkpoints, and write a page about them and its JSON")
    command.add_argument("checkpoints", nargs="+", help="output folders of training runs, or names on the Hub")
    command.add_argument("--dataset", help="images, as load_lensing_dataset takes them (default: each run's own)")
    command.add_argument("--split", default="test", help="which of their splits (default: test)")
    command.add_argument("--output", type=Path, required=True, help="HTML file to write")
    command.add_argument("--title", default="Lens report", help="title of the page")
    command.add_argument("--words", type=Path, help="JSON file with headline, highlights and next commands")
    command.add_argument("--brief", action="store_true", help="describe only the first of each table in full")
    command.add_argument("--figures", type=Path, help="folder to write every figure into as well, as a PDF")
    command.set_defaults(run=_report)
    return parser


if __name__ == "__main__":
    sys.exit(main())
