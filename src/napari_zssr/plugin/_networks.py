"""The networks of the run that finished last, and the file that they are saved to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog

from napari_zssr.checks import NETWORKS_SUFFIX
from napari_zssr.plugin._layers import layer_file

if TYPE_CHECKING:
    from napari_zssr.plugin._job import Job
    from napari_zssr.zssr.saved import Checkpoint


class LastNetworks:
    """What the run that finished last has learned; nothing before one has."""

    def __init__(self) -> None:
        self._networks: tuple[Checkpoint | None, ...] = ()
        self._near = Path()

    def __bool__(self) -> bool:
        return bool(self._networks)

    def keep(self, job: Job, networks: tuple[Checkpoint | None, ...]) -> None:
        """Take the networks of a finished run."""
        self._networks = networks
        source = layer_file(job.request.layer)
        folder = Path.home() if source is None else source.parent
        self._near = folder / f"{Path(job.name).name}{NETWORKS_SUFFIX}"

    def ask_and_save(self, parent: Any) -> Path | None:
        """Save them where the user says; None where the user says nowhere.

        Raises
        ------
        InputError
            The name or folder does not allow it.
        ComputeError
            The disk is full or fails.
        """
        path = ask_path(parent, self._near)
        return None if path is None else self.save(path)

    def save(self, path: str | Path) -> Path:
        """Save them; whoever names the file has been asked whether to replace it."""
        from napari_zssr.zssr.saved import write_networks

        return write_networks(path, self._networks, overwrite=True)


def ask_path(parent: Any, proposed: Path) -> str | None:
    """Ask for the file to save to, and whether one that is there is replaced."""
    dialog = QFileDialog(parent, "Save networks", str(proposed.parent))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(f"Networks (*{NETWORKS_SUFFIX})")
    dialog.setDefaultSuffix(NETWORKS_SUFFIX)
    dialog.selectFile(proposed.name)
    chosen = dialog.selectedFiles() if dialog.exec() else []
    return chosen[0] if chosen else None
