"""Procedural street scenes, painted from far to near."""

from search_spaces.data.scene.picture import draw_scene

__all__ = ["draw_scene"]
