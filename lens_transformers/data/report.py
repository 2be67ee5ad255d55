"""What happened to the images of a source on their way into a dataset."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args


__all__ = ["Finding", "LoadReport", "OnError", "check_on_error", "filled_in_words", "named"]

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]

_NUM_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """One image that was dropped or repaired.

    Attributes:
        where: The file, with the row where it holds several.
        reason: What was wrong with it, and what was done.
    """

    where: str
    reason: str


@dataclass
class LoadReport:
    """What a source was taken for, how many rows it gave, and every image that was dropped or repaired.

    Give an empty one to `load_lensing_dataset(..., report=report)`; it is filled there. Of a streamed table it grows
    while this process reads the stream; what data-loading workers find, they log.

    Attributes:
        recognised: One line: the source and what it was taken for.
        num_rows: Rows of the dataset; `None` of a stream.
        dropped: Images that are not in it.
        repaired: Images that are in it with pixels that their source does not have.
        not_read: Files beside the images that were not taken for images, counted by suffix.
        divided: Where `split_fractions` divided the source, the images of every class in every split made.
    """

    recognised: str = ""
    num_rows: int | None = 0
    dropped: list[Finding] = field(default_factory=list)
    repaired: list[Finding] = field(default_factory=list)
    not_read: dict[str, int] = field(default_factory=dict)
    divided: dict[str, dict[str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [self.recognised if self.num_rows is None else f"{self.recognised} {self.num_rows} rows."]
        for what, findings in (("dropped", self.dropped), ("repaired", self.repaired)):
            lines += [f"{what}: {finding.where}: {finding.reason}" for finding in findings]
        lines += [f"not read: {count} files {suffix}" for suffix, count in self.not_read.items()]
        lines += [f"divided: {split}: {_in_words(counts)}" for split, counts in self.divided.items()]
        return "\n".join(lines)

    def log(self) -> None:
        """Logs what was recognised, and warns of what was dropped, repaired or not read, naming the first few."""
        logger.info("%s", self.recognised)
        for what, findings in (("dropped", self.dropped), ("repaired", self.repaired)):
            if findings:
                logger.warning("%d images %s: %s", len(findings), what, _first_few(findings))
        if self.not_read:
            logger.warning("Files that were not read: %s.", _in_words(self.not_read))
        for split, counts in self.divided.items():
            logger.info("Split %s: %s.", split, _in_words(counts))

    def drop(self, where: str, reason: str, on_error: OnError) -> None:
        """Notes, and warns of, an image that a stream leaves out, once; or raises ValueError if it must not."""
        if on_error == "raise":
            raise ValueError(f"{where}: {reason}")
        self._note("dropped", Finding(where, reason))

    def repair(self, where: str, reason: str) -> None:
        """Notes, and warns of, an image that a stream repairs, once."""
        self._note("repaired", Finding(where, reason))

    def _note(self, what: Literal["dropped", "repaired"], finding: Finding) -> None:
        findings = getattr(self, what)
        if finding not in findings:  # of an earlier epoch
            findings.append(finding)
            logger.warning("1 images %s: %s", what, _first_few([finding]))

    def fill(self, other: "LoadReport") -> None:
        """Takes over all that another report says."""
        vars(self).update(vars(other))

    def save(self, path: Path) -> None:
        """Writes the report as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "LoadReport":
        """Reads a report that `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("dropped", "repaired"):
            values[name] = [Finding(**finding) for finding in values[name]]
        return cls(**values)


def check_on_error(on_error: str) -> None:
    """Raises ValueError if `on_error` is not known."""
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be one of {', '.join(get_args(OnError))}, got {on_error!r}.")


def filled_in_words(count: int, column: str, flux: float) -> str:
    """What is said of an image in which pixels were replaced."""
    return f"{count} NaN or infinite pixels of {column} are now {flux:g}."


def named(path: str | os.PathLike) -> str:
    """A path as it stands in a message: on one line, whatever characters it has."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _first_few(findings: Sequence[Finding]) -> str:
    text = "; ".join(f"{finding.where}: {finding.reason}" for finding in findings[:_NUM_NAMED])
    return text if len(findings) <= _NUM_NAMED else f"{text}; …"
