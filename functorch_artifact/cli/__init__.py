"""The command line: `functorch-artifact`.

Belongs here: the names of the family. Does not: what the commands show (`runs`, `pages`).
Floor 11.
"""

from functorch_artifact.cli.entry import commands, main

__all__ = ["commands", "main"]
