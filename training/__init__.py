"""How a start is learned from generated images; nothing here is needed to use it."""

from __future__ import annotations
