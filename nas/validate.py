"""Checking every field of every option of a space against the kinds' own signatures, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from nas.errors import Where
from nas.tree import Template


def validate(template: Template, places: Mapping[str, Where], root: str) -> None:
    """Raise SpaceError with up to ten errors."""
