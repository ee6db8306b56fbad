from __future__ import annotations

import pytest
from hypothesis import settings

# Time never decides a test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests that take minutes")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    slow_too = config.getoption("--slow")
    for item in items:
        if item.get_closest_marker("slow") and not slow_too:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if item.get_closest_marker("gpu") and not _has_accelerator():
            item.add_marker(pytest.mark.skip(reason="no accelerator here"))


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
