"""What cannot be exported to ONNX, and why: nothing at present.

An entry is checked as well: its kind must really not export, and every other kind must.
"""

from __future__ import annotations

NOT_EXPORTED: dict[str, str] = {}
"""Names of leaf kinds, each with the reason."""
