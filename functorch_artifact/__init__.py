"""Train and validate PyTorch models as pure functions over an immutable state.

The functional face: `functional`, `init`, `train_step`, `compile`, `advance`, `Program`, `fit`.
The declarative face: `CustomTrainer`, its routines and callbacks. Families are modules:
`optimizers`, `folds`, `callbacks`, `stoppers`, `tracking`; domains are packages, such as
`functorch_artifact.table_comparison`.
Floor 12.

What is offered is listed in `front`. It is imported when it is first asked for (PEP 562), so that a
program that only wants a room, such as the command line's `--help`, does not wait for torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from functorch_artifact.front import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        from importlib import import_module
        from pathlib import Path

        # A room alone first: rooms ask for one another while they are imported, and the front for all.
        room = Path(__file__).with_name(name)
        if room.with_suffix(".py").is_file() or (room / "__init__.py").is_file():
            return import_module(f"{__name__}.{name}")
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        front = import_module(f"{__name__}.front")
        globals().update({each: getattr(front, each) for each in front.__all__}, __all__=front.__all__)
        if name not in globals():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
