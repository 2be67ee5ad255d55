"""A picture of the first images of a data set, to look at before they are used."""

import numpy as np
from datasets import Dataset
from PIL import Image, ImageDraw

from ..data.schema import LABEL_NAMES


_TITLE_HEIGHT = 14
# Brightness, between the faintest and the brightest shown, at which the stretch turns from linear to logarithmic.
_STRETCH = 0.1


def contact_sheet(dataset: Dataset, per_row: int = 8, size: int = 96) -> Image.Image:
    """Draws the first images of every class, or of the set and their targets, in one picture.

    Args:
        dataset: Rows with `image`.
        per_row: Images in a row.
        size: Width and height of each in pixels.

    Returns:
        The picture: each image from its 1st to its 99.8th percentile, arcsinh-stretched. Three bands are blue, green
        and red; of any other number the first is shown.
    """
    rows = dataset.with_format("numpy")
    strips: list[tuple[str, list[np.ndarray]]] = []
    if "label" in dataset.features:
        labels = np.asarray(rows["label"][:])
        for index, name in enumerate(LABEL_NAMES):
            chosen = rows.select(np.flatnonzero(labels == index)[:per_row])
            strips.append((name, [row["image"] for row in chosen]))
    else:
        chosen = rows.select(range(min(per_row, len(rows))))
        for column in ("image", "target"):
            if column in dataset.features:
                strips.append((column, [row[column] for row in chosen]))
    sheet = Image.new("RGB", (per_row * size, len(strips) * (size + _TITLE_HEIGHT)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, images) in enumerate(strips):
        top = number * (size + _TITLE_HEIGHT)
        draw.text((2, top + 1), name, fill="black")
        for position, image in enumerate(images):
            sheet.paste(_thumbnail(image).resize((size, size)), (position * size, top + _TITLE_HEIGHT))
    return sheet


def _thumbnail(image: np.ndarray) -> Image.Image:
    bands = image[::-1] if len(image) == 3 else image[:1].repeat(3, axis=0)
    low, high = np.percentile(bands, (1, 99.8))
    scaled = np.clip((bands - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
    stretched = np.arcsinh(scaled / _STRETCH) / np.arcsinh(1 / _STRETCH)
    # In a picture rows count downwards, on the sky upwards.
    return Image.fromarray((255 * stretched).astype(np.uint8).transpose(1, 2, 0)[::-1])
