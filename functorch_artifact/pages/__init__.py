"""Pages: self-contained HTML, from single pieces to a whole run's.

Belongs here: the names of the family. Does not: reading runs (`runs.reader`), writing files.
Floor 1.
"""

from functorch_artifact.pages.pieces import (
    anchor,
    cards,
    cell,
    contents,
    escape,
    facts,
    folded,
    page,
    picture,
    section,
    table,
)

__all__ = ["anchor", "cards", "cell", "contents", "escape", "facts", "folded", "page", "picture", "section", "table"]
