"""Check a finished training folder or a data set, write its card, push it.

python -m lens_transformers.hub check runs/dm
python -m lens_transformers.hub card runs/dm org/lens-mae
python -m lens_transformers.hub push runs/dm org/lens-mae --private
python -m lens_transformers.hub push lenses org/lenses
"""

import argparse
import logging
import sys
from pathlib import Path

from . import PushError, check, push, write_dataset_card, write_model_card
from .dataset_card import is_dataset_folder


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status, 0 if all is well."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return options.run(options)
    except (OSError, PushError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _check(options: argparse.Namespace) -> int:
    found = check(options.folder)
    for name, path in found.files.items():
        print(f"{path.stat().st_size:>15,}  {name}")
    print(f"{found.num_bytes:>15,}  bytes in {len(found.files)} files would be pushed.")
    for problem in found.problems:
        print(f"- {problem}", file=sys.stderr)
    print("Not ready to be pushed." if found.problems else "Ready to be pushed.")
    return 1 if found.problems else 0


def _card(options: argparse.Namespace) -> int:
    write_card = write_dataset_card if is_dataset_folder(options.folder) else write_model_card
    print(write_card(options.folder, options.repo_id))
    return 0


def _push(options: argparse.Namespace) -> int:
    commit = push(
        options.folder,
        options.repo_id,
        revision=options.revision,
        private=options.private or None,
        create_pr=options.create_pr,
        commit_message=options.message,
    )
    print(commit.pr_url or commit)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lens_transformers.hub",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    folder_help = "output folder of a training run, or a data set of simulate.py or write_lensing_dataset"
    command = commands.add_parser("check", help="say what would be pushed, and what keeps it from being pushed")
    command.add_argument("folder", type=Path, help=folder_help)
    command.set_defaults(run=_check)
    command = commands.add_parser("card", help="write README.md from what was measured, or renew its generated part")
    command.add_argument("folder", type=Path, help=folder_help)
    command.add_argument("repo_id", nargs="?", help="name on the Hub that the card's code loads, org/name")
    command.set_defaults(run=_card)
    command = commands.add_parser("push", help="push a training run or a data set, all of it in one commit")
    command.add_argument("folder", type=Path, help=folder_help)
    command.add_argument("repo_id", help="name on the Hub, org/name; made if there is none")
    command.add_argument("--revision", default="main", help="branch to push to (default: main)")
    command.add_argument("--private", action="store_true", help="make a new repository private")
    command.add_argument("--create_pr", action="store_true", help="open a pull request")
    command.add_argument("--message", help="first line of the commit")
    command.set_defaults(run=_push)
    return parser


if __name__ == "__main__":
    sys.exit(main())
