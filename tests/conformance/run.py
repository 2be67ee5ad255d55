"""Run transformers' own common tests on our classes: `python tests/conformance/run.py [pytest options]`.

The tests are those of the installed transformers version. They are in its source distribution, not in its wheel, so
that is fetched with pip, once, into `.cache/conformance`.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "conformance"

# What the common tests import and the source distribution leaves out. The mixins stubbed here test text generation,
# which an image encoder does not do, and export, which tests/models tests.
STUBS = {
    "tests/__init__.py": "",
    "tests/exporters/__init__.py": "",
    "tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "tests/generation/__init__.py": "",
    "tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "tests/utils/__init__.py": "",
    # Arguments that every configuration takes, with values that are not their defaults.
    "tests/utils/test_configuration_utils.py": (
        "config_common_kwargs = {\n"
        '    "architectures": ["LensMAEModel"],\n'
        '    "chunk_size_feed_forward": 5,\n'
        '    "dtype": "float16",\n'
        '    "id2label": {0: "no_sub", 1: "cdm"},\n'
        '    "label2id": {"no_sub": 0, "cdm": 1},\n'
        '    "output_attentions": True,\n'
        '    "output_hidden_states": True,\n'
        '    "problem_type": "regression",\n'
        '    "return_dict": False,\n'
        "}\n"
    ),
    # Maps the address of a test image to a local copy; the tests that need one need the network and do not run.
    "utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url, return_url_if_not_found=True):\n    return url\n",
}


# `tests` has to be the package of the source distribution; ours is none. The markers are transformers', not ours.
PYTEST_OPTIONS = [
    "--override-ini=addopts=",
    "--import-mode=prepend",
    "--quiet",
    "--override-ini=verbosity_subtests=0",
    "-Wignore::pytest.PytestUnknownMarkWarning",
]


def main() -> int:
    """Fetch the common tests where they are missing, and run ours on them."""
    source = fetch_source(version("transformers"))
    command = [sys.executable, "-m", "pytest", *PYTEST_OPTIONS, str(Path(__file__).parent), *sys.argv[1:]]
    environment = {**os.environ, "LENS_CONFORMANCE_SDIST": str(source), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


def fetch_source(transformers_version: str) -> Path:
    """Give the folder of the unpacked source distribution, with the stubs in it."""
    source = CACHE / f"transformers-{transformers_version}"
    if not source.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            download(transformers_version, Path(folder))
            [archive] = Path(folder).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                # Python before 3.11.4 cannot refuse members that would leave the folder.
                files.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            [unpacked] = Path(folder).glob("transformers-*/")
            shutil.rmtree(unpacked / "src")  # the installed package is what is tested
            for path, text in STUBS.items():
                target = unpacked / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            unpacked.rename(source)
    return source


def download(transformers_version: str, folder: Path) -> None:
    """Fetch the source distribution from the package index that pip is configured for."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", "--dest", str(folder), f"transformers=={transformers_version}"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
