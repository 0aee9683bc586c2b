"""Fixtures that several test files share."""

from __future__ import annotations

from tests.nas.language import kinds

__all__ = ["kinds"]
