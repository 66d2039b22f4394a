"""The tools of the embedded world, by domain."""

from __future__ import annotations

from ..spec import ToolSpec
from . import computers, culture, home, leisure, living, nature, numbers, office, travel

ALL_TOOLS: tuple[ToolSpec, ...] = (
    *travel.TOOLS,
    *home.TOOLS,
    *office.TOOLS,
    *computers.TOOLS,
    *numbers.TOOLS,
    *leisure.TOOLS,
    *culture.TOOLS,
    *living.TOOLS,
    *nature.TOOLS,
)
