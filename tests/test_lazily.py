"""A result whose planes are computed when they are looked at."""

from __future__ import annotations

import pickle

import dask.array
import numpy as np
import pytest

from napari_zssr.config import FAST, INSTANT, Config, change
from napari_zssr.progress import drain
from napari_zssr.stack.axis_labels import labelled
from napari_zssr.stack.image import ImageStack
from napari_zssr.stack.prepare import Prepared
from napari_zssr.stack.run import lazily_upscaled, upscale_steps

QUICK = change(FAST, steps=4, tuned_steps=2, width=8, always=True, ensemble=False)


def image(axes: str = "CZYX") -> ImageStack:
    sizes = {"C": 2, "Z": 3, "Y": 32, "X": 36, "S": 3}
    y, x = np.mgrid[:32, :36]
    rings = 1000 + 900 * np.sin(np.hypot(y - 12.3, x - 15.1))
    shape = [sizes[letter] for letter in axes]
    noise = np.random.default_rng(0).normal(0, 20, shape)
    inside = [sizes[a] if a in "YX" else 1 for a in axes]
    order = rings if axes.index("Y") < axes.index("X") else rings.T
    return labelled((order.reshape(inside) + noise).astype(np.uint16), axes=axes)


@pytest.mark.parametrize("axes", ["CZYX", "YXS", "ZYXS", "YX", "XYZ"])
@pytest.mark.parametrize("config", [INSTANT, QUICK], ids=lambda c: c.preset)
def test_what_is_looked_at_is_what_a_run_gives(axes: str, config: Config) -> None:
    stack = image(axes)
    lazy = lazily_upscaled(stack, config)
    whole = drain(upscale_steps(stack, config)).image
    assert (lazy.shape, lazy.dtype) == (whole.shape, whole.dtype)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), whole)


def test_one_plane_costs_one_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    learned: list[int] = []
    enlarged, shared = Prepared.enlarged, Prepared.shared

    def counted(self: Prepared, place, *rest):  # type: ignore[no-untyped-def]
        begun.append(place.number)
        return enlarged(self, place, *rest)

    def counted_shared(self: Prepared, channel: int):  # type: ignore[no-untyped-def]
        learned.append(channel)
        return shared(self, channel)

    monkeypatch.setattr(Prepared, "enlarged", counted)
    monkeypatch.setattr(Prepared, "shared", counted_shared)
    lazy = lazily_upscaled(image(), QUICK)
    assert (begun, learned) == ([], [])
    lazy[1, 2, 10:20, :30].compute(scheduler="sync")
    assert (begun, learned) == ([5], [1])
    lazy[1, :2].compute(scheduler="threads")
    assert (sorted(begun), learned) == ([3, 4, 5], [1])


def test_it_travels_and_reads_lazy_pixels() -> None:
    stack = image()
    pixels = dask.array.from_array(stack.data, chunks=(1, 1, 32, 36))
    lazy = lazily_upscaled(labelled(pixels, axes="CZYX"), INSTANT)
    twin = pickle.loads(pickle.dumps(lazy))
    whole = drain(upscale_steps(stack, INSTANT)).image
    np.testing.assert_array_equal(twin[0, 1].compute(scheduler="sync"), whole[0, 1])
