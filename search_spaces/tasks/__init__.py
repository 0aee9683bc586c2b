"""Tasks: what the networks are for."""

from __future__ import annotations

from search_spaces.tasks.semantic import Confusion, Semantic, make_task, plain_task

__all__ = ["Confusion", "Semantic", "make_task", "plain_task"]
