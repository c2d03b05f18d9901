"""What all tests share: the way to the real photos, and a store of their own."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights beside the checkout; skips where it is not there."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the real photos and weights in {SHARED}, which are not there")
    return SHARED


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the store of the person who runs it."""
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path_factory.mktemp("store")))
