"""A contact sheet: some images of a dataset in one PNG, each with its key, split, view and labels beneath, and what
readers drew on it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from shards.base.atomic import atomic_file
from shards.base.errors import InputError, writing
from shards.base.randomness import generator
from shards.base.words import as_called
from shards.drawn import drawn_boxes
from shards.format.boxes import Box
from shards.images.gray import as_shown
from shards.index import ShardIndex

_MARGIN, _LINE = 6, 15
_LINES = 5  # key, split and view, three lines of labels
_PAPER, _INK, _FAINT = 255, 0, 96
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(index: ShardIndex, *, columns: int = 6, rows: int = 4, tile: int = 200, seed: int = 0) -> Image.Image:
    """A gray page of up to ``columns`` x ``rows`` random images of the selection, each fitted into a square of ``tile``
    pixels. Labels are listed where present, and with a question mark where uncertain. Boxes are outlined in white on
    black, with their finding at their upper left corner; several readers' boxes of one finding bear its name once.

    Raises:
        InputError: no rows, a page of no or too many pixels, or an image that cannot be decoded.
    """
    index.require_rows("preview")
    for name, value, least, most in (("columns", columns, 1, 50), ("rows", rows, 1, 100), ("tile", tile, 64, 1024)):
        if not least <= value <= most:
            raise InputError(f"--{name} {value}: must be from {least} to {most}")
    order = generator("preview", seed).permutation(len(index))
    chosen = index.take(order[: columns * rows])
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    font = ImageFont.load_default(12)
    height = tile + _LINES * _LINE + 2 * _MARGIN
    sheet = Image.new("L", (columns * (tile + _MARGIN) + _MARGIN, _LINE + 2 * _MARGIN + rows * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    names = ", ".join(sorted(set(chosen.column("dataset"))))
    pen.text(
        (_MARGIN, _MARGIN),
        fit_text(f"{names}: {len(chosen):,} of {len(index):,} images", sheet.width, font),
        _INK,
        font,
    )
    small = ImageFont.load_default(10)
    each = zip(chosen.rows, chosen.table.to_pylist(), drawn_boxes(chosen), strict=True)
    for number, (row, about, boxes) in enumerate(each):
        left = _MARGIN + number % columns * (tile + _MARGIN)
        top = _LINE + 2 * _MARGIN + number // columns * height
        image = _read(chosen, int(row), about["key"])
        image.thumbnail((tile, tile), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pen.rectangle((left, top, left + tile - 1, top + tile - 1), fill=224)
        _draw_boxes(image, boxes or (), about, small)
        sheet.paste(image, (left + (tile - image.width) // 2, top + (tile - image.height) // 2))
        lines = [about["key"], _describe(about), *_wrap(_labels(about, index.label_names), tile, font)]
        for line, text in enumerate(lines[:_LINES]):
            place = (left, top + tile + 2 + line * _LINE)
            pen.text(place, fit_text(text, tile, font, keeps_end=line == 0), _INK if line > 1 else _FAINT, font)
    return sheet


def check_sheet(output: Path) -> None:
    """Refuses a file whose name is not that of a PNG, before anything is drawn for it.

    Raises:
        InputError: ``output`` does not end in .png.
    """
    if output.suffix.lower() != ".png":
        raise InputError(f"--output {output}: must end in .png")


def save_sheet(sheet: Image.Image, output: Path) -> None:
    """Writes the sheet as a PNG file; one that is there is replaced.

    Raises:
        InputError: as :func:`check_sheet`, or it cannot be written.
    """
    check_sheet(output)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as file:
            sheet.save(file, "PNG")


def _read(index: ShardIndex, row: int, key: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(index.read(row)), formats=("JPEG", "PNG"))
        return as_shown(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        place, folders = f"{key} in {index.place(row).tar.name}", " ".join(map(str, index.folders))
        raise InputError(
            f"image {place}: cannot be decoded ({error}); run: {as_called(f'shards verify {folders}')}"
        ) from None


def _draw_boxes(image: Image.Image, boxes: Sequence[Box], about: dict[str, Any], font: Font) -> None:
    """Outlines boxes, which are in stored pixels, on an image that was made smaller."""
    across, down = image.width / about["width"], image.height / about["height"]
    pen, named = ImageDraw.Draw(image), set()
    for box in boxes:
        left, top = round(box.x * across), round(box.y * down)
        right, bottom = (round(edge) - 1 for edge in ((box.x + box.width) * across, (box.y + box.height) * down))
        right, bottom = max(right, left), max(bottom, top)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_INK)
        pen.rectangle((left, top, right, bottom), outline=_PAPER)
        if box.label not in named:
            named.add(box.label)
            text = fit_text(box.label, image.width - left - 3, font)
            pen.text((left + 3, top + 1), text, _PAPER, font, stroke_width=1, stroke_fill=_INK)


def _describe(about: dict[str, object]) -> str:
    age = about["age"]
    known = [about["split"], about["view"], about["projection"], about["sex"], f"{age:.0f} y" if age else None]
    return ", ".join(str(value) for value in known if value)


def _labels(about: dict[str, object], names: Sequence[str]) -> list[str]:
    present = [name for name in names if about[name] == 1]
    uncertain = [f"{name}?" for name in names if about[name] == -1]
    return [*present, *uncertain] or ["(no label present)"]


def _wrap(words: Sequence[str], width: int, font: Font) -> list[str]:
    """Labels on as few lines as hold them, never one on two lines."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}, {word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines[-1:] = [lines[-1] + ",", word] if lines[-1] else [word]
    return lines


def fit_text(text: str, width: int, font: Font, *, keeps_end: bool = False) -> str:
    """The text, cut to ``width`` pixels at its end, or at its beginning where the end tells more, as in keys."""
    if font.getlength(text) <= width:
        return text
    cuts = (f"...{text[n:]}" if keeps_end else f"{text[: len(text) - n]}..." for n in range(1, len(text) + 1))
    return next((cut for cut in cuts if font.getlength(cut) <= width), "")
