"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@pytest.fixture(scope="session")
def aria() -> Path:
    """The real images, where `LEUKEMIA_DATA` names them."""
    root = os.environ.get("LEUKEMIA_DATA")
    if not root:
        pytest.skip("LEUKEMIA_DATA is unset: the real images are not at hand")
    return Path(root)


@pytest.fixture(scope="session")
def published(aria: Path) -> Path:
    """The paper's own masks and embeddings, beside the real images."""
    folder = aria.parent / "published"
    if not folder.is_dir():
        pytest.skip(f"no folder 'published' beside LEUKEMIA_DATA ({aria})")
    return folder
