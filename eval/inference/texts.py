"""The texts that go with images: of a list, or of the datasets that the images are in."""

from pathlib import Path

from eval.inference.images import Given
from shards.base.errors import InputError
from shards.sources.files import FolderFiles
from shards.sources.lists import read_list


class ImageTexts:
    """The text of each image, by its path or its key; of none where no list is given, so that each has its own.

    Raises:
        InputError: the list is not there, cannot be read, lacks a column, or names an image twice with other texts.
    """

    def __init__(self, file: Path | None, *, path_column: str, text_column: str) -> None:
        self.num_without = 0
        """Images so far that have none."""
        self._of_list: dict[str, str] | None = None
        if file is None:
            return
        if not file.is_file():
            raise InputError(f"--texts {file}: no such file; give a list with the columns {path_column}, {text_column}")
        self._of_list = {}
        folder = FolderFiles(file.resolve().parent)
        for row in read_list(folder, file.resolve().name, needed=(path_column, text_column)):
            if row.problem:
                raise InputError(f"--texts {file}: {row.problem}; mend the list")
            name, text = row[path_column], row[text_column]
            if self._of_list.setdefault(name, text) != text:
                raise InputError(f"--texts {file}: names {name} twice, with two texts; give each image once")
        if not self._of_list:
            raise InputError(f"--texts {file}: has no rows; give the images' texts")

    def of(self, image: Given) -> str | None:
        """The image's text; None if it has none."""
        text = image.text
        if self._of_list is not None:
            text = self._of_list.get(image.path, self._of_list.get(image.key))
        self.num_without += not (text and text.strip())
        return text
