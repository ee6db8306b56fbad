from __future__ import annotations

import pytest

from napari_zssr.files.omexml import parse_pixels

OBJECTIVES = """
<Objective ID="Objective:0" LensNA="0.3" Immersion="Air"/>
<Objective ID="Objective:1" LensNA="1.4" Immersion="Oil"/>
"""


def xml(
    instrument: str = OBJECTIVES,
    settings: str = '<ObjectiveSettings ID="Objective:1"/>',
    mode: str = 'AcquisitionMode="LaserScanningConfocalMicroscopy"',
) -> str:
    return f"""<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
  <Instrument ID="Instrument:0">{instrument}</Instrument>
  <Image ID="Image:0">
    <InstrumentRef ID="Instrument:0"/>
    {settings}
    <Pixels PhysicalSizeX="0.1" PhysicalSizeY="100" PhysicalSizeYUnit="nm">
      <Channel Name="actin" EmissionWavelength="520" {mode}/>
      <Channel/>
    </Pixels>
  </Image>
</OME>"""


def test_optics_of_an_image() -> None:
    spacing, units, (channel, other) = parse_pixels(xml(), 0)
    assert (spacing, units) == ({"Y": 100, "X": 0.1}, {"Y": "nm", "X": "um"})
    assert (channel.name, channel.emission_nm) == ("actin", 520)
    assert (channel.na, channel.index, channel.modality) == (1.4, 1.515, "confocal")
    assert (other.na, other.index, other.modality) == (1.4, 1.515, "")


@pytest.mark.parametrize(
    ("settings", "index"),
    [
        ('<ObjectiveSettings ID="Objective:1" RefractiveIndex="1.52"/>', 1.52),
        ('<ObjectiveSettings ID="Objective:1" Medium="Glycerol"/>', 1.45),
        ('<ObjectiveSettings ID="Objective:1" Medium="Other"/>', 1.515),
        ('<ObjectiveSettings ID="Objective:1" RefractiveIndex="-1"/>', 1.515),
    ],
)
def test_index_as_set(settings: str, index: float) -> None:
    _, _, channels = parse_pixels(xml(settings=settings), 0)
    assert channels[0].index == index
    assert channels[0].na == 1.4


def test_the_only_objective_needs_no_name() -> None:
    lens = '<Objective ID="Objective:7" LensNA="1.2" Immersion="WaterDipping"/>'
    _, _, channels = parse_pixels(xml(lens, settings=""), 0)
    assert (channels[0].na, channels[0].index) == (1.2, 1.33)


@pytest.mark.parametrize(
    ("instrument", "settings"),
    [
        (OBJECTIVES, ""),
        (OBJECTIVES, '<ObjectiveSettings ID="Objective:9"/>'),
        ("", ""),
        ('<Objective ID="Objective:0" LensNA="unknown" Immersion="Multi"/>', ""),
    ],
)
def test_an_objective_that_is_not_known(instrument: str, settings: str) -> None:
    _, _, channels = parse_pixels(xml(instrument, settings), 0)
    assert (channels[0].na, channels[0].index) == (None, None)


@pytest.mark.parametrize(
    ("mode", "modality"),
    [("SPIM", "lightsheet"), ("WideField", "widefield"), ("STED", "")],
)
def test_modality(mode: str, modality: str) -> None:
    _, _, channels = parse_pixels(xml(mode=f'AcquisitionMode="{mode}"'), 0)
    assert channels[0].modality == modality
