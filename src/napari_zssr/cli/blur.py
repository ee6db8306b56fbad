"""The options that say what the blur of an image is, offered by several commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from napari_zssr.checks import check_one_of
from napari_zssr.cli import options
from napari_zssr.cli.options import option
from napari_zssr.errors import InputError
from napari_zssr.kernelspec import KernelSpec, Method, Optics

if TYPE_CHECKING:
    from napari_zssr.config import Config
    from napari_zssr.imaging.kernel import FineKernel
    from napari_zssr.stack.axes import ImageStack

TIFF = (".tif", ".tiff")
BLUR = "How the image was blurred"

Kernel = Annotated[
    str | None,
    option(
        "--kernel",
        panel=BLUR,
        metavar="KERNEL",
        help="estimate (from the image), optics, an image of beads as .tif, bicubic, "
        "gaussian:SIGMA in fine pixels, or weights as .npy, .csv, .mat or .tif.",
    ),
]
Na = Annotated[
    float | None,
    option(
        "--na",
        panel=BLUR,
        metavar="NA",
        help="Optics: numerical aperture. What is not given of the optics is taken "
        "from the image's metadata.",
    ),
]
WavelengthNm = Annotated[
    float | None,
    option(
        "--wavelength-nm", panel=BLUR, metavar="NM", help="Optics: emitted light, nm."
    ),
]
ExcitationNm = Annotated[
    float | None,
    option(
        "--excitation-nm",
        panel=BLUR,
        metavar="NM",
        help="Optics: exciting light of a confocal microscope, nm.",
    ),
]
Index = Annotated[
    float | None,
    option(
        "--index",
        panel=BLUR,
        metavar="N",
        help="Optics: refractive index of the immersion. Default: guessed from the "
        "aperture.",
    ),
]
ModalityName = Annotated[
    str | None,
    option(
        "--modality",
        panel=BLUR,
        metavar="NAME",
        help="Optics: widefield, confocal or lightsheet. Default: widefield.",
    ),
]
PsfModel = Annotated[
    str | None,
    option(
        "--psf-model",
        panel=BLUR,
        metavar="NAME",
        help="Optics: gaussian or vectorial (needs psf-generator). Default: gaussian.",
    ),
]
KernelSpacing = Annotated[
    str | None,
    option(
        "--kernel-spacing",
        panel=BLUR,
        metavar="Z,Y,X",
        help="Voxel (or pixel Y,X) of the image of beads in micrometres, instead of "
        "what the file says.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """What was said of the blur on the command line.

    Attributes
    ----------
    kernel : str or None
    na, wavelength_nm, excitation_nm, index, modality, psf_model
        Of `Optics`, where ``psf_model`` is its method.
    kernel_spacing : str or None
        Voxel or pixel of an image of beads, um.
    """

    kernel: Kernel = None
    na: Na = None
    wavelength_nm: WavelengthNm = None
    excitation_nm: ExcitationNm = None
    index: Index = None
    modality: ModalityName = None
    psf_model: PsfModel = None
    kernel_spacing: KernelSpacing = None

    @property
    def given(self) -> dict[str, Any]:
        """Options that were given, by their names."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value is not None}

    def spec(self) -> KernelSpec | None:
        """The blur, its file read; None where nothing was said of it.

        Raises
        ------
        InputError
            The options do not fit together, or the file holds no kernel and no bead.
        """
        from napari_zssr.files.kernels import pinned

        optics = self._optics()
        if self.kernel is None and not optics:
            self._refuse_spacing("no --kernel is given")
            return None
        spec = KernelSpec.parse("optics" if self.kernel is None else self.kernel)
        if optics:
            spec = _with_optics(spec, optics)
        if spec.kind != "file" or Path(spec.path).suffix.lower() not in TIFF:
            self._refuse_spacing(f"the kernel is {self.kernel or 'optics'!r}")
        return pinned(spec, self.spacing_um())

    def spacing_um(self) -> tuple[float, ...] | None:
        """Voxel or pixel of an image of beads, None where it was not given."""
        return parse_kernel_spacing(self.kernel_spacing)

    def _optics(self) -> dict[str, Any]:
        others = ("kernel", "kernel_spacing")
        told = {name: value for name, value in self.given.items() if name not in others}
        if "psf_model" in told:
            told["method"] = told.pop("psf_model")
            check_one_of("psf model", told["method"], Method)
        return told

    def _refuse_spacing(self, why: str) -> None:
        if self.kernel_spacing is not None:
            raise InputError(
                f"--kernel-spacing is the voxel size of an image of beads, but {why}; "
                "give --kernel BEADS.tif, or leave it out."
            )


NOTHING_SAID = Blur()
takes_blur = options.takes("blur", Blur)


def parse_kernel_spacing(text: str | None) -> tuple[float, ...] | None:
    """Spacing of beads from ``0.2,0.1,0.1`` (Z, Y, X) or ``0.1,0.1`` (Y, X)."""
    if text is None:
        return None
    found = options.numbers("Kernel spacing", text, "Z,Y,X or Y,X in micrometres")
    if len(found) not in (2, 3):
        raise InputError(
            f"Kernel spacing {text!r} has {len(found)} "
            f"number{'s' * (len(found) != 1)}; give Z,Y,X or Y,X in micrometres."
        )
    return tuple(found)


def kernels_told(stack: ImageStack, config: Config) -> tuple[FineKernel, ...]:
    """The blur of each channel of an image."""
    from napari_zssr.stack.kernels import kernels_of

    return kernels_of(stack, config)


def told_of(kernels: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """What is told of the blur: once if it holds for all channels, else by channel.

    Parameters
    ----------
    kernels : sequence of str
        Sentence of each channel.
    names : sequence of str
        Names of the channels, some or all of them perhaps missing.

    Returns
    -------
    list of (str, str)
        Name of a channel, empty for all of them, and its sentence.
    """
    if len(set(kernels)) < 2:
        return [("", sentence) for sentence in kernels[:1]]
    return [(channel_name(names, n), kernels[n]) for n in range(len(kernels))]


def channel_name(names: Sequence[str], number: int) -> str:
    """Name of a channel, or its number."""
    name = names[number] if number < len(names) else ""
    return name or f"channel {number}"


def _with_optics(spec: KernelSpec, told: dict[str, Any]) -> KernelSpec:
    if spec.kind != "optics" or spec.optics is None:
        names = ["psf_model" if name == "method" else name for name in told]
        first = f"--{names[0].replace('_', '-')}"
        raise InputError(
            f"{first} describes optics, but the kernel is {spec.kind!r}; give --kernel "
            f"optics, or leave out {first}."
        )
    optics: Optics = replace(spec.optics, **told)
    return KernelSpec(kind="optics", optics=optics)
