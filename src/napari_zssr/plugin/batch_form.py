"""The form of a batch: images, result files and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, LineEdit, Widget

from napari_zssr.config import Config
from napari_zssr.errors import InputError
from napari_zssr.io.contents import ALL, file_labels, labelled_path
from napari_zssr.io.read import list_images
from napari_zssr.plugin.form.fields import FactorFields, MethodFields
from napari_zssr.plugin.form.form import TIFF, ZARR, default_config, proposed_name
from napari_zssr.plugin.form.rows import Column, Row, heading, path_field

FOLDER, FILES, LARGEST = "folder", "files", "largest"
USUAL_NAMES = "*.tif *.tiff"
OUTPUT = "enlarged"


@dataclass(frozen=True, slots=True)
class Source:
    """One image of a file: its index and label, or the largest image."""

    path: Path
    image: int | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the file, and which image of it."""
        return f"{self.path.name} {self.label}".rstrip()

    @property
    def labelled_name(self) -> str:
        """Name of the file with the label before its ending."""
        path = labelled_path(self.path, self.label) if self.label else self.path
        return path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Images and their result files, and how to enlarge them.

    `axes` are those of every image, None for those that each file names.
    """

    pairs: tuple[tuple[Source, Path], ...]
    folder: Path
    config: Config
    axes: str | None
    partial: bool
    overwrite: bool


class BatchForm(Column):
    """Images, Results and Method."""

    def __init__(self) -> None:
        self.factor = FactorFields()
        self.method = MethodFields()
        images = [heading("Images"), *_image_rows()]
        results = [heading("Results"), *_result_rows()]
        super().__init__(
            [*images, *results, heading("Method"), self.factor, self.method]
        )
        self.show_config(default_config())
        self._proposed: Path | None = None
        for name in ("source", "folder", "files"):
            self.fields[name].changed.connect(self._update_rows)
        self._update_rows()

    def show_config(self, config: Config) -> None:
        """Set the fields to settings."""
        self.factor.show_factors(config.factors, config.factor_z)
        self.method.show_config(config)

    def order(self) -> Order:
        """What Run would do; raises InputError if that is impossible."""
        files = self._files()
        config = self.method.config(self.factor.factors, self.factor.factor_z)
        folder = _path(self.fields["into"].value)
        if folder is None:
            raise InputError("Choose a folder for the results.")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; choose a folder for the results.")
        if self.fields["within"].value == ALL:
            sources = [source for file in files for source in _all_images(file)]
        else:
            sources = [Source(file) for file in files]
        ending = self.fields["ending"].value
        targets = [
            folder / proposed_name(source.labelled_name, config.factor_text, ending)
            for source in sources
        ]
        # Results of an earlier batch in the same folder are not images of this one.
        pairs = [
            (source, target)
            for source, target in zip(sources, targets, strict=True)
            if source.path.absolute() not in targets
        ]
        _check_different([target for _, target in pairs])
        return Order(
            pairs=tuple(pairs),
            folder=folder,
            config=config,
            axes=self.fields["axes"].value.strip() or None,
            partial=self.fields["partial"].value,
            overwrite=self.fields["overwrite"].value,
        )

    def _files(self) -> list[Path]:
        if self.fields["source"].value == FILES:
            files = [Path(file) for file in self.fields["files"].value]
            if not files:
                raise InputError("Choose the files to enlarge.")
            return files
        folder = _path(self.fields["folder"].value)
        if folder is None:
            raise InputError("Choose a folder of images.")
        if not folder.is_dir():
            raise InputError(f"The folder {folder} does not exist; choose another one.")
        names = self.fields["names"].value.split() or ["*"]
        matching = {path for name in names for path in folder.glob(name)}
        files = [
            path
            for path in sorted(matching)
            if not path.name.startswith(".")
            and (path.is_file() or path.suffix.lower() == ".zarr")
        ]
        if not files:
            raise InputError(
                f"No file in {folder} matches {' or '.join(names)}; change Names or "
                "the folder."
            )
        return files

    def _update_rows(self, *_: Any) -> None:
        """Show the rows that apply, and propose a folder unless the user named one."""
        in_folder = self.fields["source"].value == FOLDER
        for name in ("folder", "names"):
            self.rows[name].visible = in_folder
        self.rows["files"].visible = not in_folder
        files = self.fields["files"].value
        folder = _path(self.fields["folder"].value)
        if not in_folder:
            folder = Path(files[0]).parent if files else None
        into = self.fields["into"]
        if folder is None or _path(into.value) not in (None, self._proposed):
            return
        self._proposed = folder / OUTPUT
        into.value = self._proposed


def _path(value: Any) -> Path | None:
    """A path, or None for an empty field."""
    return None if str(value) in ("", ".") else Path(value).expanduser().absolute()


def _all_images(file: Path) -> Sequence[Source]:
    """All images of a file; of an unreadable one, itself: its run reports the error."""
    try:
        modified = file.stat().st_mtime_ns
    except OSError:
        return [Source(file)]
    return _sources(file, modified)


@lru_cache(maxsize=10_000)
def _sources(file: Path, _modified_ns: int) -> Sequence[Source]:
    """Cached, since the form reads the files after every change."""
    try:
        entries = list_images(file)
    except InputError:
        return [Source(file)]
    if len(entries) == 1:
        return [Source(file)]
    labels = file_labels(entries)
    return [Source(file, entry.index, labels[entry.index]) for entry in entries]


def _check_different(targets: Sequence[Path]) -> None:
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise InputError(
            f"Two images would both become {min(twice).name}; rename one of them, or "
            "enlarge them in two batches."
        )


def _image_rows() -> list[Row]:
    fields: dict[str, Widget] = {
        "Take": ComboBox(
            name="source",
            choices=[("all in a folder", FOLDER), ("chosen files", FILES)],
            tooltip="All images of a folder whose names match, or files that you "
            "choose.",
        ),
        "Folder": path_field(
            name="folder",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            tooltip="The folder with the images. Its subfolders are not searched.",
        ),
        "Names": LineEdit(
            name="names",
            value=USUAL_NAMES,
            tooltip="Names to match, separated by spaces; * stands for anything, as in "
            "*.tif cells_*.zarr.",
        ),
        "Files": path_field(
            name="files",
            mode=FileDialogMode.EXISTING_FILES,
            tooltip="The images to enlarge, one or many.",
        ),
        "In a file": ComboBox(
            name="within",
            choices=[("largest image", LARGEST), ("all images", ALL)],
            tooltip="If a file holds several images, such as positions or scenes: only "
            "the one with the most pixels, or all, each written to a file of its own.",
        ),
        "Axes": LineEdit(
            name="axes",
            tooltip="One letter for each axis (T time, C channel, Z depth, Y, X), if "
            "the files do not name them. Leave it empty to use what each file says.",
        ),
        "": CheckBox(
            name="partial",
            text="Accept unfinished files",
            tooltip="Enlarges the complete planes of a file whose acquisition was "
            "stopped. Otherwise such a file is refused.",
        ),
    }
    fields["Axes"].native.setPlaceholderText("as each file says")
    return [Row(label, field) for label, field in fields.items()]


def _result_rows() -> list[Row]:
    fields: dict[str, Widget] = {
        "Into": path_field(
            name="into",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            tooltip="The folder for the results. It is created if needed.",
        ),
        "Format": ComboBox(
            name="ending",
            choices=[("OME-TIFF", TIFF), ("OME-Zarr", ZARR)],
            tooltip="OME-TIFF opens in most programs. OME-Zarr also holds smaller "
            "versions for quick viewing, and suits images larger than memory.",
        ),
        "": CheckBox(
            name="overwrite",
            text="Replace existing results",
            tooltip="Otherwise images that already have a result are skipped, so that "
            "Run continues where it was stopped.",
        ),
    }
    return [Row(label, field) for label, field in fields.items()]
