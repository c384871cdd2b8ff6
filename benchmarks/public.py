"""The public packages as the parity tests import them, for scripts: a missing one ends with one line."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from dataengine.model import Sam


def segment_anything() -> ModuleType:
    """The package `segment-anything`; ends the script where it isn't installed."""
    return _public("segment_anything")


def public_sam(ours: Sam, encoder: nn.Module) -> Any:
    """The public `Sam` around `encoder` with our prompt encoder's and mask decoder's weights."""
    return _public("public_sam", ours, encoder)


def _public(name: str, *arguments: Any) -> Any:
    try:
        import pytest

        from tests.parity import public
    except ImportError as error:
        raise SystemExit(f"compares with public code; run it in the checkout, with the extra `dev`: {error}") from error
    try:
        return getattr(public, name)(*arguments)
    except pytest.skip.Exception as missing:
        raise SystemExit(f"nothing to compare with: {missing}") from missing
