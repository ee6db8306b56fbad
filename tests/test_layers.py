from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("napari")

import dask.array as da
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.transforms import Affine

from napari_zssr import INSTANT, InputError
from napari_zssr.config import change
from napari_zssr.imaging.resample import imresize
from napari_zssr.plugin.layers.layers import (
    KEY,
    WHOLE,
    Selection,
    current_slice,
    current_view,
    describe_axes,
    in_rectangle,
    layer_axes,
    layer_stack,
    lazy_stack,
    match_contrast,
    result_kwargs,
)
from napari_zssr.progress import drain
from napari_zssr.stack.report import recipe
from napari_zssr.stack.run import upscale_steps

SHAPE = (48, 56)
AFFINE = Affine(rotate=-20, scale=(1.5, 0.7), translate=(40, -3)).affine_matrix


def blob(shape: Sequence[int] = SHAPE, at: tuple[float, float] = (20.3, 31.8)) -> Any:
    y, x = np.mgrid[: shape[0], : shape[1]]
    square = (y - at[0]) ** 2 + (x - at[1]) ** 2
    return (10000 * np.exp(-square / (2 * 2.5**2))).astype(np.float32)


def centre(plane: NDArray[Any]) -> NDArray[np.float64]:
    grids = np.indices(plane.shape)
    return np.array([(grid * plane).sum() / plane.sum() for grid in grids])


def enlarged(stack: Any, factors: tuple[float, float]) -> NDArray[Any]:
    axes = [stack.axes.index(letter) for letter in "YX"]
    moved = np.moveaxis(stack.data, axes, (-2, -1))
    return np.moveaxis(imresize(moved, factors), (-2, -1), axes)


def distance(
    layer: Image, result: Image, plane: tuple[int, ...] = (), start: Any = ()
) -> float:
    """How far the blob has moved in the world, in fine pixels."""
    first = np.zeros(layer.ndim) if len(start) == 0 else np.array(start)
    place = np.array(plane)
    rgb = (..., 0) if layer.rgb else ()
    coarse = centre(np.asarray(layer.data)[(*(place + first[:-2].astype(int)), *rgb)])
    fine = centre(np.asarray(result.data)[(*plane, *rgb)])
    there = layer.data_to_world((*(place + first[:-2]), *coarse))
    back = np.asarray(result.world_to_data(there))
    return float(np.abs(back - (*plane, *fine)).max())


PLACES: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"scale": (0.25, 0.5), "units": ("um", "um")},
    "negative": {"scale": (-0.25, 0.5)},
    "translated": {"translate": (-7.5, 1000.25)},
    "rotated": {"rotate": 30, "scale": (0.5, 0.1)},
    "sheared": {"shear": (0.4,), "scale": (0.5, 0.1)},
    "sheared lower": {"shear": np.array([[1, 0], [0.3, 1]])},
    "affine": {"affine": AFFINE},
    "everything": {
        "rotate": 30, "shear": (0.4,), "scale": (0.5, 0.1), "translate": (3, -4),
        "affine": AFFINE,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "factors"),
    [
        ("plain", (1, 2)),
        ("scaled", (2, 2)),
        ("negative", (3, 3)),
        ("translated", (1.5, 4)),
        ("rotated", (1, 2)),
        ("sheared", (1.5, 4)),
        ("sheared lower", (3, 3)),
        ("affine", (1.5, 4)),
        ("everything", (2, 2)),
        ("everything", (3, 3)),
        ("everything", (1.5, 4)),
        ("everything", (1, 2)),
    ],
)
def test_blob_stays_in_its_place(place: str, factors: tuple[float, float]) -> None:
    layer = Image(blob(), **PLACES[place])
    stack = layer_stack(layer)
    kwargs = result_kwargs(layer, stack.axes, WHOLE, factors, {})
    result = Image(enlarged(stack, factors), **kwargs)
    assert distance(layer, result) < 0.05


@pytest.mark.parametrize("place", ["scaled", "everything"])
def test_blob_stays_in_its_place_through_the_engine(place: str) -> None:
    layer = Image(blob(), **PLACES[place])
    stack = layer_stack(layer)
    done = drain(upscale_steps(stack, change(INSTANT, always=True)))
    kwargs = result_kwargs(layer, "YX", WHOLE, (2, 2), recipe(stack, done))
    result = Image(done.image, **kwargs)
    assert distance(layer, result) < 0.05
    assert result.metadata[KEY]["config"]["preset"] == "instant"


@pytest.mark.parametrize("place", PLACES)
def test_a_part_lies_where_it_was_cut_out(place: str) -> None:
    part = Selection(ranges={"Y": (3, 40), "X": (11, 54)})
    layer = Image(blob(), **PLACES[place])
    stack = layer_stack(layer, None, part)
    assert stack.data.shape == (37, 43)
    result = Image(
        enlarged(stack, (2, 1.5)), **result_kwargs(layer, "YX", part, (2, 1.5), {})
    )
    assert distance(layer, result) < 0.05


@pytest.mark.parametrize("ndim", [3, 4, 5])
def test_planes_of_a_stack_keep_their_place(ndim: int) -> None:
    axes = "TCZYX"[-ndim:]
    lead = (2, 2, 3)[-(ndim - 2) :]
    data = np.broadcast_to(blob(), (*lead, *SHAPE)).copy()
    angle = np.eye(ndim)
    angle[-2:, -2:] = [[0.8, -0.6], [0.6, 0.8]]
    layer = Image(
        data, axis_labels=axes, scale=(*range(2, ndim), 0.5, 0.25), rotate=angle,
        translate=range(ndim),
    )  # fmt: skip
    part = Selection(ranges={"Z": (1, 3), "Y": (2, 48)})
    stack = layer_stack(layer, axes, part)
    assert stack.data.shape == (*lead[:-1], 2, 46, 56)
    kwargs = result_kwargs(layer, axes, part, (2, 2), {})
    result = Image(enlarged(stack, (2, 2)), **kwargs)
    last = tuple(n - 1 for n in stack.data.shape[:-2])
    start = (0,) * (ndim - 3) + (1, 2, 0)
    assert distance(layer, result, last, start) < 0.05
    assert result.axis_labels == layer.axis_labels


def test_planes_that_are_no_last_axes_keep_their_place() -> None:
    layer = Image(np.moveaxis(np.stack([blob()] * 6), 0, -1), axis_labels="YXZ")
    stack = layer_stack(layer)
    assert stack.axes == "YXZ"
    kwargs = result_kwargs(layer, "YXZ", WHOLE, (2, 3), {})
    assert list(kwargs["scale"]) == [1 / 2, 1 / 3, 1]
    assert kwargs["translate"] == pytest.approx([-1 / 4, -1 / 3, 0])


def test_rgb_keeps_its_place_and_kind() -> None:
    data = np.stack([blob().clip(0, 255).astype(np.uint8)] * 3, axis=-1)
    layer = Image(data, rotate=30, scale=(0.5, 0.1))
    assert layer.rgb
    stack = layer_stack(layer)
    assert (stack.axes, stack.guessed) == ("YXS", False)
    kwargs = result_kwargs(layer, "YXS", WHOLE, (2, 2), {})
    result = Image(enlarged(stack, (2, 2)), **kwargs)
    assert result.rgb
    assert distance(layer, result) < 0.05
    match_contrast(layer, result)


def test_looks_are_carried_over() -> None:
    layer = Image(
        blob().astype(np.uint16), name="mitochondria", colormap="magenta", gamma=0.7,
        contrast_limits=(10, 300), blending="additive", opacity=0.4, visible=False,
        units=("nm", "nm"), scale=(65, 65), interpolation2d="cubic",
    )  # fmt: skip
    layer.contrast_limits_range = (0, 65535)
    kwargs = result_kwargs(layer, "YX", WHOLE, (2, 1.5), {"program": "napari-zssr"})
    result = Image(np.zeros((96, 84), np.uint16), **kwargs)
    match_contrast(layer, result)
    assert result.name == "mitochondria x2x1.5"
    assert result.metadata == {KEY: {"program": "napari-zssr"}}
    assert [str(unit) for unit in result.units] == ["nanometer", "nanometer"]
    for name in ("gamma", "blending", "opacity", "interpolation2d",
                 "contrast_limits", "contrast_limits_range"):  # fmt: skip
        assert getattr(result, name) == getattr(layer, name), name
    assert result.colormap.name == "magenta"
    assert result.affine is not layer.affine


AXES: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[str, bool]]] = {
    "2D": ((9, 8), {}, ("YX", False)),
    "labels": ((5, 9, 8), {"axis_labels": ("t", "y", "x")}, ("TYX", False)),
    "names": (
        (2, 5, 9, 8), {"axis_labels": ("channel", "time", "Y", "X")}, ("CTYX", False),
    ),
    "order": ((9, 8, 5), {"axis_labels": ("y", "x", "z")}, ("YXZ", False)),
    "partly": ((5, 9, 8), {"axis_labels": ("z", "-2", "-1")}, ("ZYX", True)),
    "partly, last": ((2, 5, 9, 8), {"axis_labels": ("-4", "z", "y", "x")},
                     ("CZYX", True)),
    "only yx": ((5, 9, 8), {"axis_labels": ("-3", "y", "x")}, ("ZYX", True)),
    "twice": ((5, 9, 8), {"axis_labels": ("z", "z", "x")}, ("ZYX", True)),
    "strange": ((5, 9, 8), {"axis_labels": ("p", "q", "r")}, ("ZYX", True)),
    "no plane": ((5, 9, 8), {"axis_labels": ("t", "c", "z")}, ("ZYX", True)),
    "few": ((3, 9, 8), {}, ("CYX", True)),
    "many": ((30, 9, 8), {}, ("ZYX", True)),
    "five": ((2, 3, 4, 9, 8), {}, ("TCZYX", True)),
    "rgb": ((9, 8, 3), {"rgb": True}, ("YXS", False)),
    "rgb stack": ((5, 9, 8, 3), {"rgb": True}, ("ZYXS", True)),
    "no rgb": ((5, 9, 8), {"rgb": False}, ("ZYX", True)),
    "recipe": ((5, 9, 8), {"metadata": {KEY: {"input": {"axes": "TYX"}}}},
               ("TYX", False)),
    "metadata": ((5, 9, 8), {"metadata": {"axes": "TYX"}}, ("TYX", False)),
    "odd metadata": ((5, 9, 8), {"metadata": {"axes": "QYX", KEY: 3}}, ("ZYX", True)),
}  # fmt: skip


@pytest.mark.parametrize("case", AXES)
def test_axes_are_found(case: str) -> None:
    shape, kwargs, expected = AXES[case]
    assert layer_axes(Image(np.zeros(shape, np.uint8), **kwargs)) == expected


def test_too_many_axes_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="too many axes to guess"):
        layer_axes(Image(np.zeros((2, 2, 2, 2, 9, 8), np.uint8)))


WORDS: dict[str, tuple[tuple[int, ...], dict[str, Any], str, str]] = {
    "zcyx": (
        (40, 2, 12, 11),
        {"scale": (0.5, 1, 0.13, 0.13), "units": ("um", "pixel", "um", "um")},
        "ZCYX",
        "Z 40 × C 2 × Y 12 × X 11, 0.5 × 0.13 × 0.13 µm",
    ),
    "none": ((5, 9, 8), {}, "ZYX", "Z 5 × Y 9 × X 8, no pixel size"),
    "no unit": (
        (9, 8), {"scale": (0.2, 0.2)}, "YX", "Y 9 × X 8, 0.2 × 0.2 (no unit)",
    ),
    "time": (
        (5, 9, 8), {"scale": (60, 0.2, 0.2), "units": ("s", "nm", "nm")}, "TYX",
        "T 5 × Y 9 × X 8, 0.2 × 0.2 nm, every 60 s",
    ),
    "mixed": (
        (9, 8), {"scale": (0.2, 3), "units": ("um", "nm")}, "YX",
        "Y 9 × X 8, Y 0.2 µm, X 3 nm",
    ),
    "rgb": ((9, 8, 3), {"rgb": True}, "YXS", "Y 9 × X 8 × RGB, no pixel size"),
}  # fmt: skip


@pytest.mark.parametrize("case", WORDS)
def test_axes_in_words(case: str) -> None:
    shape, kwargs, axes, words = WORDS[case]
    assert describe_axes(Image(np.zeros(shape, np.uint8), **kwargs), axes) == words


def test_spacing_and_units_reach_the_stack() -> None:
    layer = Image(
        np.zeros((3, 2, 9, 8), np.uint16), name="a",
        scale=(60, 1, -0.13, 0.13), units=("s", "pixel", "um", "micrometer"),
    )  # fmt: skip
    stack = layer_stack(layer, "TCYX")
    assert stack.spacing == (60, None, 0.13, 0.13)
    assert stack.units == ("s", None, "um", "um")
    assert (stack.name, stack.guessed) == ("a", False)
    assert stack.checksum.startswith("pixels:")
    assert len(stack.checksum) == len("pixels:") + 16


@pytest.mark.parametrize("axes", ["ZYX", "CZY", "YXQT"])
def test_axes_that_do_not_fit_are_refused(axes: str) -> None:
    with pytest.raises(InputError):
        layer_stack(Image(np.zeros((2, 2, 9, 8), np.uint16)), axes)


@pytest.mark.parametrize(
    "ranges", [{"Z": (3, 3)}, {"Z": (-1, 2)}, {"Y": (0, 10)}, {"C": (0, 1)}], ids=str
)
def test_parts_that_are_not_there_are_refused(ranges: dict[str, Any]) -> None:
    layer = Image(np.zeros((5, 9, 8), np.uint16))
    with pytest.raises(InputError, match=r"Pixels|selection"):
        layer_stack(layer, "ZYX", Selection(ranges=ranges))


def test_lazy_layers_load_only_the_part() -> None:
    loaded: list[int] = []

    def plane(block_info: Any = None) -> NDArray[np.uint16]:
        number = block_info[None]["chunk-location"][0]
        loaded.append(number)
        return np.full((1, 16, 16), number, np.uint16)

    chunks = ((1,) * 50, (16,), (16,))
    data = da.map_blocks(plane, chunks=chunks, dtype=np.uint16, meta=np.empty(0))
    layer = Image(data, contrast_limits=(0, 50))
    loaded.clear()
    stack = layer_stack(layer, "ZYX", Selection(ranges={"Z": (7, 9)}))
    assert sorted(loaded) == [7, 8]
    assert stack.data[:, 0, 0].tolist() == [7, 8]
    lazy = lazy_stack(layer, "ZYX", Selection(ranges={"Z": (9, 12)}))
    assert lazy.data.shape == (3, 16, 16)
    assert describe_axes(layer, "ZYX").startswith("Z 50 × Y 16")
    assert sorted(loaded) == [7, 8]


class OnDisk:
    """Stands for zarr, tensorstore and the like, and notes what is loaded."""

    def __init__(self, data: NDArray[Any]) -> None:
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.loaded = 0

    def __getitem__(self, index: Any) -> NDArray[Any]:
        part = self._data[index]
        self.loaded += part.size
        return part


def test_layers_on_disk_load_only_the_part() -> None:
    planes = np.arange(50, dtype=np.uint16)[:, None, None]
    data = OnDisk(np.broadcast_to(planes, (50, 16, 16)))
    layer = Image(data, contrast_limits=(0, 50))
    data.loaded = 0
    lazy = lazy_stack(layer, "ZYX")
    assert data.loaded == 0
    assert np.asarray(lazy.data[7]).max() == 7
    assert data.loaded == 16 * 16
    part = layer_stack(layer, "ZYX", Selection(ranges={"Z": (7, 9)}))
    assert part.data[:, 0, 0].tolist() == [7, 8]
    assert data.loaded == 3 * 16 * 16


def test_multiscale_layers_give_their_finest_level() -> None:
    fine = blob((64, 64))
    layer = Image([fine, fine[::2, ::2], fine[::4, ::4]], multiscale=True)
    stack = layer_stack(layer)
    assert (stack.data == fine).all()
    kwargs = result_kwargs(layer, "YX", WHOLE, (2, 2), {})
    result = Image(enlarged(stack, (2, 2)), **kwargs)
    assert not result.multiscale
    back = result.world_to_data(layer.data_to_world(centre(fine)))
    assert np.abs(back - centre(result.data)).max() < 0.05


def test_current_slice_follows_the_sliders() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.zeros((4, 10, 9, 8), np.uint16), scale=(1, 0.5, 0.1, 0.1),
        translate=(0, 20, 0, 0), axis_labels="CZYX",
    )  # fmt: skip
    viewer.add_image(np.zeros((2, 4, 30, 9, 8), np.uint16))
    viewer.dims.point = (1, 3, 23.4, 0, 0)
    part = current_slice(layer, "CZYX", viewer)
    assert part == {"C": (3, 4), "Z": (7, 8)}
    viewer.dims.point = (1, 3, 2, 0, 0)
    part = current_slice(layer, "CZYX", viewer)
    assert part == {"C": (3, 4), "Z": (0, 1)}


def test_current_slice_knows_the_units_of_the_world() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.zeros((10, 9, 8), np.uint16), scale=(0.5, 0.1, 0.1), units=("um",) * 3
    )
    viewer.add_image(
        np.zeros((10, 9, 8), np.uint16), scale=(500, 100, 100), units=("nm",) * 3
    )
    viewer.dims.point = (3500, 0, 0)
    part = current_slice(layer, "ZYX", viewer)
    assert part == {"Z": (7, 8)}


def test_current_view_is_what_the_canvas_shows() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 100, 200), np.uint16), scale=(1, 0.5, 0.5))
    viewer.canvas.size = (60, 80)
    viewer.scene.camera.zoom = 4
    viewer.scene.camera.center = (0, 10, 30)
    viewer.dims.point = (2, 0, 0)
    part = current_view(layer, "ZYX", viewer)
    assert part == {"Z": (2, 3), "Y": (5, 36), "X": (40, 81)}
    viewer.scene.camera.center = (0, 1000, 30)
    with pytest.raises(InputError, match="outside of the view"):
        current_view(layer, "ZYX", viewer)
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match="switch to 2D"):
        current_view(layer, "ZYX", viewer)


def test_rectangle_selects_the_pixels_inside() -> None:
    layer = Image(
        np.zeros((5, 40, 50), np.uint16), scale=(1, 2, 2), translate=(0, 9, 9)
    )
    corners = np.array([[9.5, 19.5], [9.5, 29.5], [14.5, 29.5], [14.5, 19.5]])
    shapes = Shapes([corners, corners + 3], scale=(2, 2), translate=(9, 9))
    assert in_rectangle(layer, "ZYX", shapes) == {"Y": (13, 18), "X": (23, 33)}
    shapes.selected_data = {0}
    assert in_rectangle(layer, "ZYX", shapes) == {"Y": (10, 15), "X": (20, 30)}


def test_rectangle_on_a_rotated_layer_is_the_box_around_it() -> None:
    layer = Image(np.zeros((40, 50), np.uint16), rotate=90)
    inside = np.array([[3.5, 4.5], [3.5, 9.5], [10.5, 9.5], [10.5, 4.5]])
    world = [layer.data_to_world(corner) for corner in inside]
    part = in_rectangle(layer, "YX", Shapes([np.array(world)]))
    assert part == {"Y": (4, 11), "X": (5, 10)}


def test_rectangles_that_select_nothing_are_refused() -> None:
    layer = Image(np.zeros((40, 50), np.uint16))
    with pytest.raises(InputError, match="draw a rectangle"):
        in_rectangle(layer, "YX", Shapes())
    away = np.array([[90, 90], [90, 99], [99, 99], [99, 90]])
    with pytest.raises(InputError, match="outside of the layer"):
        in_rectangle(layer, "YX", Shapes([away]))


@pytest.mark.parametrize(
    ("gain", "dtype", "own"),
    [(1.0, np.uint16, False), (1.1, np.float32, False), (2.0, np.uint16, True)],
)
def test_a_result_is_overexposed_only_where_its_layer_was(
    gain: float, dtype: Any, own: bool
) -> None:
    pixels = np.random.default_rng(0).integers(100, 1000, (64, 64)).astype(np.uint16)
    result_pixels = (gain * pixels).astype(dtype)
    for limits in ((100, 1000), (100, 300)):
        layer = Image(pixels, contrast_limits=limits)
        kwargs = result_kwargs(layer, "YX", WHOLE, (1, 1), {})
        result = Image(result_pixels, **kwargs)
        match_contrast(layer, result)
        if own and limits == (100, 1000):
            assert result.contrast_limits[0] == 100
            assert 1900 < result.contrast_limits[1] <= 2000
            assert result.contrast_limits_range[1] >= result.contrast_limits[1]
        else:
            assert tuple(result.contrast_limits) == limits


def test_no_pixels_are_read_from_a_file_for_the_contrast() -> None:
    from dask.array import from_array

    layer = Image(np.ones((8, 8)), contrast_limits=(0, 1))
    kwargs = result_kwargs(layer, "YX", WHOLE, (1, 1), {})
    result = Image(from_array(9 * np.ones((8, 8))), **kwargs)
    match_contrast(layer, result)
    assert tuple(result.contrast_limits) == (0, 1)


def test_names_say_factor_and_preset() -> None:
    layer = Image(np.ones((4, 8, 8)), name="cells")
    for factors, preset, name in (
        ((2, 2), "fast", "cells x2 fast"),
        ((3, 2, 2), "balanced", "cells x2 z3 balanced"),
        ((2, 1.5), "", "cells x2x1.5"),
    ):
        kwargs = result_kwargs(layer, "ZYX", WHOLE, factors, {}, preset)
        assert kwargs["name"] == name
