"""The generated part of a card: renewed as often as one likes, while what a person wrote around it stays."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import CardData, RepoCard


BEGIN = "<!-- lens_transformers:begin. This part is renewed from {source}; write your own text above or below it. -->"
END = "<!-- lens_transformers:end -->"

_BEGIN_PATTERN = r"<!-- lens_transformers:begin(?: (?P<stamp>[0-9a-f]{16}))?"
_END_PATTERN = re.escape(END)


@functools.cache
def environment() -> jinja2.Environment:
    """Where the card templates are found; a name that a template uses and nobody gives is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lens_transformers", "hub_cards"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def generated_part(text: str, source: str) -> str:
    """Rendered text between the comments by which it is found again."""
    return f"{BEGIN.format(source=source)}\n{text.strip()}\n{END}"


@dataclass(frozen=True)
class GeneratedCard:
    """What a program writes of a card.

    Attributes:
        card_type: `ModelCard` or `DatasetCard`.
        data: Metadata of a new card.
        block: The text, of `generated_part`.
        measured: Metadata that the program knows better than the person who edited the card.
    """

    card_type: type[RepoCard]
    data: CardData
    block: str
    measured: tuple[str, ...]


def new_card(generated: GeneratedCard) -> RepoCard:
    """A card that is generated and nothing else."""
    return generated.card_type(f"---\n{generated.data.to_yaml()}\n---\n\n{generated.block}\n")


def render_card(generated: GeneratedCard, readme: Path) -> str:
    """The text of a new card, or of the one that is there with its generated part renewed.

    Raises:
        ValueError: If the metadata or the markers of the card that is there cannot be read.
    """
    if not readme.exists():
        return str(new_card(generated))
    # Bytes, for a file with Windows line ends keeps them.
    card = read_card(generated.card_type, readme.read_bytes().decode("utf-8"), str(readme))
    return str(renew(card, generated, str(readme)))


def merge_card(generated: GeneratedCard, readme: Path, repo_id: str, published: str | None) -> str:
    """The card to push: newly generated, with what was written by hand, here or on the Hub.

    Where a person edited only one of the two cards since they were last the same, that one's text is kept.

    Args:
        generated: What a program writes.
        readme: The card here.
        repo_id: Name on the Hub, `"org/name"`.
        published: The card that is on the Hub, if there is one.

    Raises:
        ValueError: If both cards were edited by hand, and differently; or one of them cannot be read.
    """
    measured = generated.measured
    card = read_card(generated.card_type, render_card(generated, readme), str(readme))
    if published is not None:
        name = f"The card of {repo_id} on the Hub"
        theirs = read_card(generated.card_type, published, name)
        known = (handwriting(new_card(generated), measured), read_stamp(card))
        if handwriting(card, measured) in known:
            card = renew(theirs, generated, name)
        elif handwriting(theirs, measured) not in (handwriting(card, measured), *known):
            raise ValueError(
                f"{readme} and the card of {repo_id} on the Hub were both edited by hand. Put what you "
                "want of both into the one on the Hub, remove README.md here, and push again."
            )
    return str(stamp(card, handwriting(card, measured)))


def read_card(card_type: type[RepoCard], content: str, name: str) -> RepoCard:
    """Reads a card.

    Args:
        card_type: `ModelCard` or `DatasetCard`.
        content: The whole of it.
        name: What error messages call it.

    Raises:
        ValueError: If its metadata cannot be read.
    """
    try:
        return card_type(content, ignore_metadata_errors=True)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(
            f"{name}: the metadata between the two --- lines cannot be read: {error}. Repair it, or move the file "
            "away to have a new card written."
        ) from error


def renew(card: RepoCard, generated: GeneratedCard, name: str) -> RepoCard:
    """Replaces a card's generated part, and the metadata that are measured; fills in metadata that are missing.

    Args:
        card: The card, which is changed.
        generated: What to put there.
        name: What error messages call the card.

    Returns:
        The same card.

    Raises:
        ValueError: If the comments that mark the generated part are not there once each, in order.
    """
    line_break = "\r\n" if "\r\n" in card.text else "\n"
    block = generated.block.replace("\n", line_break)
    pushed = read_stamp(card)
    markers = re.findall(f"{_BEGIN_PATTERN}|{_END_PATTERN}", card.text)
    if not markers:
        # A card without a generated part is a person's: all of it stays, under ours.
        card.text = f"{line_break}{block}{line_break}{line_break}{card.text.lstrip()}"
    elif len(markers) == 2 and re.search(f"{_BEGIN_PATTERN}.*{_END_PATTERN}", card.text, flags=re.DOTALL):
        card.text = re.sub(f"{_BEGIN_PATTERN}.*{_END_PATTERN}", lambda _: block, card.text, flags=re.DOTALL)
    else:
        raise ValueError(
            f"{name}: the comments that mark the generated part must be there once each, first `{BEGIN[:28]} …` and "
            f"then `{END}`. Repair them, or move the file away to have a new card written."
        )
    for key, value in vars(generated.data).items():
        if key in generated.measured or card.data.get(key) is None:
            card.data[key] = value
    return stamp(card, pushed) if pushed else card


def handwriting(card: RepoCard, measured: tuple[str, ...]) -> str:
    """A fingerprint of all that is not generated: two cards with the same one say the same by hand."""
    text = re.sub(f"{_BEGIN_PATTERN}.*{_END_PATTERN}", "\0", card.text, flags=re.DOTALL)
    words = [" ".join(part.split()) for part in text.split("\0")]
    metadata: dict[str, Any] = {
        key: value for key, value in card.data.to_dict().items() if key not in (*measured, "base_model", "model-index")
    }
    content = json.dumps([[word for word in words if word], metadata], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def stamp(card: RepoCard, fingerprint: str) -> RepoCard:
    """Notes in a card, where no reader sees it, what was written by hand when it was pushed."""
    card.text = re.sub(_BEGIN_PATTERN, f"<!-- lens_transformers:begin {fingerprint}", card.text, count=1)
    return card


def read_stamp(card: RepoCard) -> str | None:
    """The fingerprint that `stamp` left, `None` in a card that was never pushed."""
    match = re.search(_BEGIN_PATTERN, card.text)
    return match["stamp"] if match else None
