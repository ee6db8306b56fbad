from __future__ import annotations

from typing import Any

import pytest

from napari_zssr.io.contents import Calibration
from napari_zssr.io.ome_xml import PlaneAddress, ome_calibration

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
    <Pixels SizeX="30" SizeY="20" PhysicalSizeX="0.1"
        PhysicalSizeY="100" PhysicalSizeYUnit="nm">
      <Channel Name="actin" EmissionWavelength="520" {mode}/>
      <Channel/>
    </Pixels>
  </Image>
</OME>"""


def reading(text: str, ifd: int | None = 0, **where: str) -> Calibration:
    file = where.pop("file", "a.ome.tif")
    address = PlaneAddress(file=file, ifd=ifd, height=20, width=30, **where)
    return ome_calibration(text, address, "a.ome.tif")


def test_optics_of_an_image() -> None:
    found = reading(xml())
    channel, other = found.channels
    assert found.spacing == {"Y": 100, "X": 0.1}
    assert found.units == {"Y": "nm", "X": "um"}
    assert found.messages == ()
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
    channels = reading(xml(settings=settings)).channels
    assert channels[0].index == index
    assert channels[0].na == 1.4


def test_the_only_objective_needs_no_name() -> None:
    lens = '<Objective ID="Objective:7" LensNA="1.2" Immersion="WaterDipping"/>'
    channels = reading(xml(lens, settings="")).channels
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
    channels = reading(xml(instrument, settings)).channels
    assert (channels[0].na, channels[0].index) == (None, None)


@pytest.mark.parametrize(
    ("mode", "modality"),
    [("SPIM", "lightsheet"), ("WideField", "widefield"), ("STED", "")],
)
def test_modality(mode: str, modality: str) -> None:
    channels = reading(xml(mode=f'AcquisitionMode="{mode}"')).channels
    assert channels[0].modality == modality


def image(number: int, blocks: str, size: str = 'SizeX="30" SizeY="20"') -> str:
    """An image whose pixel size is its number."""
    return f"""<Image ID="Image:{number}" Name="Pos{number}">
    <Pixels {size} PhysicalSizeX="{number}">{blocks}<Channel/></Pixels></Image>"""


def document(*images: str, uuid: str = "") -> str:
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'<OME xmlns="{space}" {uuid}>' + "".join(images) + "</OME>"


def member(name: str, uuid: str = "urn:uuid:2") -> str:
    return f'<TiffData IFD="0"><UUID FileName="{name}">{uuid}</UUID></TiffData>'


OWN = 'UUID="urn:uuid:1"'
SMALL = 'SizeX="8" SizeY="8"'


@pytest.mark.parametrize(
    ("text", "where", "size"),
    [
        # images without pixels come first
        (document(image(1, ""), image(2, '<TiffData IFD="0"/>')), {"ifd": 0}, 2),
        # the order of the XML is not that of the pages
        (
            document(image(1, '<TiffData IFD="1"/>'), image(2, '<TiffData IFD="0"/>')),
            {"ifd": 0},
            2,
        ),
        # blocks of several planes, one of which is meant
        (
            document(
                image(1, '<TiffData IFD="0" PlaneCount="3"/>'),
                image(2, '<TiffData IFD="3" PlaneCount="3"/>'),
            ),
            {"ifd": 4},
            2,
        ),
        # planes that are interleaved
        (
            document(
                image(1, '<TiffData IFD="0"/><TiffData IFD="2"/>'),
                image(2, '<TiffData IFD="1"/><TiffData IFD="3"/>'),
            ),
            {"ifd": 3},
            2,
        ),
        # the same page of another file
        (
            document(image(1, member("b.ome.tif")), image(2, member("c.ome.tif"))),
            {"ifd": 0, "file": "C.ome.tif"},
            2,
        ),
        # a file that was renamed is known by its UUID
        (
            document(
                image(1, member("b.ome.tif")),
                image(2, member("old.ome.tif", "urn:uuid:1")),
                uuid=OWN,
            ),
            {"ifd": 0},
            2,
        ),
        # pages that nothing claims: by size, then by name
        (document(image(1, "", SMALL), image(2, "")), {"ifd": 0}, 2),
        (document(image(1, ""), image(2, "")), {"ifd": 0, "name": "Pos2"}, 2),
        # a page of unknown number: by file
        (
            document(image(1, member("b.ome.tif")), image(2, member("c.ome.tif"))),
            {"ifd": None, "file": "c.ome.tif"},
            2,
        ),
    ],
)
def test_the_image_that_holds_the_plane(
    text: str, where: dict[str, Any], size: float
) -> None:
    found = reading(text, **where)
    assert found.spacing == {"X": size}
    assert found.name == f"Pos{size}"
    assert found.messages == ()


def test_images_that_cannot_be_told_apart() -> None:
    """What they agree on is taken, what they do not is said."""
    agreed = document(image(1, ""), image(1, ""))
    assert reading(agreed).spacing == {"X": 1}
    found = reading(document(image(1, ""), image(2, "")))
    assert found.spacing == {}
    assert "2 images" in found.messages[0]


def test_stale_sizes_are_said() -> None:
    found = reading(document(image(1, '<TiffData IFD="0"/>', SMALL)))
    assert found.spacing == {"X": 1}
    (message,) = found.messages
    assert "8 × 8" in message
    assert "20 × 30" in message


@pytest.mark.parametrize(
    ("size", "unit", "read"),
    [
        ("0.25", "", (0.25, "um")),
        ("250", "nm", (250, "nm")),
        ("0.01", "in", (0.01, "in")),
        ("2", "\u00c5", (2, "angstrom")),
        ("3", "pixel", None),
        ("3", "reference frame", (3, None)),
        ("0", "", None),
        ("-1", "", None),
        ("NaN", "", None),
        ("", "", None),
    ],
)
def test_units(size: str, unit: str, read: tuple[float, str | None] | None) -> None:
    stated = f'PhysicalSizeX="{size}"' + (
        f' PhysicalSizeXUnit="{unit}"' if unit else ""
    )
    found = reading(document(f"<Image><Pixels {stated}/></Image>"))
    assert found.spacing == ({"X": read[0]} if read else {})
    assert found.units == ({"X": read[1]} if read else {})


def test_xml_that_cannot_be_parsed_is_said() -> None:
    assert "could not be read" in reading("<OME>").messages[0]
    assert reading("<OME/>") == Calibration()
