"""Evaluate checkpoints on images and write one page about them; ask whether a classifier looks at a planted subhalo.

python -m lens_transformers.evaluation report runs/dm --dataset lenses --output report.html
python -m lens_transformers.evaluation report runs/a runs/b --dataset lenses --output comparison.html
python -m lens_transformers.evaluation explain runs/dm --preset lens_default
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, get_args

from transformers import AutoImageProcessor, AutoModelForImageClassification

from ..data.report import OnError
from .explanation import explain_by_all
from .pointing import plant_subhalos, pointing_rows


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status, 0 if all is well."""
    options = make_parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1


def _report(options: argparse.Namespace) -> int:
    # The report stands on this room: the room must not need it.
    from ..hub.files import from_json
    from ..report import write_report

    reading = {"on_error": options.on_error, "nan_fill": options.nan_fill}
    reading["fits_layout"] = from_json(options, "fits_layout")
    page = write_report(
        options.checkpoints,
        options.output,
        options.dataset,
        split=options.split,
        data_range=options.data_range,
        reading={name: value for name, value in reading.items() if value is not None},
        title=options.title,
        words=_read_words(options.words) if options.words else None,
        brief=options.brief,
        figures=options.figures,
    )
    print(f"Wrote {page} and {page.with_suffix('.json').name}.")
    return 0


def _explain(options: argparse.Namespace) -> int:
    model = AutoModelForImageClassification.from_pretrained(options.checkpoint).eval()
    image_processor = AutoImageProcessor.from_pretrained(options.checkpoint)
    ids = {name: class_id for class_id, name in model.config.id2label.items()}
    if options.class_name not in ids:
        raise ValueError(f"--class_name must be one of {', '.join(ids)}, got {options.class_name}.")
    planted = plant_subhalos(options.preset, options.num_images, options.seed)
    class_ids = [ids[options.class_name]] * len(planted.images)
    maps, refused = explain_by_all(model, image_processor, planted.images, class_ids)
    print(
        f"{len(planted.images)} lenses of {options.preset} with one subhalo on the ring, "
        f"{planted.mass_msun.min():.1e} to {planted.mass_msun.max():.1e} solar masses.\n"
        f"A hit is a peak within {options.tolerance} arcsec; chance is the same maps' score on the other images."
    )
    for row in pointing_rows(maps, planted, options.tolerance):
        print(
            f"{row['name']:<30} hit rate {row['hit_rate']:.3f} ({row['hit_rate_low']:.3f} to "
            f"{row['hit_rate_high']:.3f}), chance {row['chance']:.3f}; median distance "
            f"{row['median_distance_arcsec']:.2f} arcsec, by chance {row['chance_distance_arcsec']:.2f}"
        )
    for sentence in refused:
        print(sentence)
    return 0


def _read_words(path: Path) -> dict[str, Any]:
    from ..hub.files import read_json

    words = read_json(path)
    if not isinstance(words, dict):
        raise ValueError(f"{path} must hold an object with headline, highlights or next, got {words!r}.")
    return words


def make_parser() -> argparse.ArgumentParser:
    """The options of each command."""
    parser = argparse.ArgumentParser(
        prog="python -m lens_transformers.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    command = commands.add_parser("report", help="evaluate checkpoints, and write a page about them and its JSON")
    command.add_argument("checkpoints", nargs="+", help="folders of training runs, Hub names, or predictions.parquet")
    command.add_argument("--dataset", help="images, as load_lensing_dataset takes them (default: each run's own)")
    command.add_argument("--split", default="test", help="which of their splits (default: test)")
    command.add_argument("--data_range", type=float, help="range of brightness that PSNR and SSIM refer to")
    command.add_argument(
        "--on_error", choices=get_args(OnError), help="images that cannot be used: raise, or skip and report them"
    )
    command.add_argument("--nan_fill", type=float, help="flux that replaces NaN and infinite pixels")
    command.add_argument("--fits_layout", help='how FITS files hold images, as JSON, such as \'{"hdu": "SCI"}\'')
    command.add_argument("--output", type=Path, required=True, help="HTML file to write")
    command.add_argument("--title", default="Lens report", help="title of the page")
    command.add_argument("--words", type=Path, help="JSON file with headline, highlights and next commands")
    command.add_argument("--brief", action="store_true", help="describe only the first of each table in full")
    command.add_argument("--figures", type=Path, help="folder to write every figure into as well, as a PDF")
    command.set_defaults(run=_report)
    command = commands.add_parser("explain", help="print how often maps of a classifier point at a planted subhalo")
    command.add_argument("checkpoint", help="output folder of a training run, or a name on the Hub")
    command.add_argument("--preset", default="lens_default", help="what to plant into (default: lens_default)")
    command.add_argument("--num_images", type=int, default=200, help="number of lenses (default: 200)")
    command.add_argument("--seed", type=int, default=0, help="seed of the simulation (default: 0)")
    command.add_argument("--tolerance", type=float, default=0.4, help="arcsec that count as a hit (default: 0.4)")
    command.add_argument("--class_name", default="cdm", help="class whose evidence is shown (default: cdm)")
    command.set_defaults(run=_explain)
    return parser


if __name__ == "__main__":
    sys.exit(main())
