"""`python -m functorch_artifact`: the command line.

Belongs here: nothing but the call. Does not: commands (`cli`).
Floor 12.
"""

from functorch_artifact.cli import main

if __name__ == "__main__":
    main()
