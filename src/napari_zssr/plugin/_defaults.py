"""The settings that the form starts with, as set in napari's preferences."""

from __future__ import annotations

from napari_zssr.config import BALANCED, Config, change, preset
from napari_zssr.errors import InputError

PLUGIN = "napari-zssr"


def default_config() -> Config:
    """Settings from napari's preferences, `BALANCED` where there are none."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari before 0.9
        return BALANCED
    try:
        chosen = get_plugin_settings(PLUGIN).defaults
    except (KeyError, AttributeError):
        return BALANCED
    try:
        return change(
            preset(chosen.preset),
            factor=chosen.factor,
            device=chosen.device,
            seed=chosen.seed,
            always=chosen.always,
        )
    except InputError:
        return BALANCED
