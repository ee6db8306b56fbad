"""Measure how far the Gaussian PSFs are off those computed by ``psf-generator``.

``python -m tools.measure_optics``, with the extra `optics`. Prints a table of the full
widths at half maximum, and by how much the Gaussians' are larger.
"""

from __future__ import annotations

import sys

from napari_zssr.imaging.optics import gaussian_psf, vectorial_psf

EMISSION_NM = 520.0
EXCITATION_NM = 488.0
OBJECTIVES = (
    (0.1, 1.0),
    (0.3, 1.0),
    (0.5, 1.0),
    (0.69, 1.0),
    (0.8, 1.0),
    (0.95, 1.0),
    (0.5, 1.33),
    (0.8, 1.33),
    (1.0, 1.33),
    (1.2, 1.33),
    (1.27, 1.33),
    (1.05, 1.406),
    (1.35, 1.406),
    (0.69, 1.515),
    (1.25, 1.515),
    (1.4, 1.515),
    (1.49, 1.515),
)


def row(na: float, index: float, modality: str) -> tuple[float, ...]:
    """FWHM (Z, X) of the vectorial PSF in um, and percent by which ours is larger."""
    excitation = EXCITATION_NM if modality == "confocal" else None
    guess = gaussian_psf(
        na=na,
        wavelength_nm=EMISSION_NM,
        excitation_nm=excitation,
        index=index,
        modality=modality,
    ).fwhm_um
    made = vectorial_psf(
        na=na,
        wavelength_nm=EMISSION_NM,
        excitation_nm=excitation,
        index=index,
        modality=modality,
    ).fwhm_um
    off = [100 * (g / m - 1) for g, m in zip(guess, made[:2], strict=True)]
    return made[1], off[1], made[0], off[0]


def main() -> None:
    """Measure and print."""
    lines = [
        "| | NA | index | FWHM, um | Gaussian | axial FWHM, um | Gaussian |\n",
        "| --- | --- | --- | --- | --- | --- | --- |\n",
    ]
    for modality in ("widefield", "confocal"):
        for na, index in OBJECTIVES:
            width, off, depth, off_z = row(na, index, modality)
            lines.append(
                f"| {modality} | {na:g} | {index:g} | {width:.3f} | {off:+.1f} % "
                f"| {depth:.3f} | {off_z:+.1f} % |\n"
            )
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main()
