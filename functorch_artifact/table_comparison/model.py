"""What a table synthesizer is.

Belongs here: the domain's model interface, its generation parameters and their TypeVars. Does
not: how generated tables are judged.
Floor 6.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

import attrs
import pandas as pd

from functorch_artifact.contracts import Model, ModelInputTContr, ModelOutputTCov
from functorch_artifact.errors import ConfigurationError


@attrs.frozen
class GenerationParams:
    """What to generate; extend it (with `@attrs.frozen`) by what your model can be asked for.

    Args:
        n_records: rows to generate, at least 1.

    Raises:
        ConfigurationError: `n_records` is below 1.

    Example:
        >>> import attrs
        >>> @attrs.frozen
        ... class Tempered(GenerationParams):
        ...     temperature: float = 1.0
        >>> Tempered(n_records=500).temperature
        1.0
    """

    n_records: int

    def __attrs_post_init__(self) -> None:
        if self.n_records < 1:
            where = f"{type(self).__name__}.n_records"
            raise ConfigurationError("asks for no rows", where=where, expected="at least 1", got=self.n_records)


GenerationParamsTContr = TypeVar("GenerationParamsTContr", bound=GenerationParams, contravariant=True)
GenerationParamsTCov = TypeVar("GenerationParamsTCov", bound=GenerationParams, covariant=True)


class TableSynthesizer(
    Model[ModelInputTContr, ModelOutputTCov],
    Generic[ModelInputTContr, ModelOutputTCov, GenerationParamsTContr],
):
    """A model that generates tables.

    It is contravariant in its generation parameters: a synthesizer that needs less than a routine
    offers fits that routine.
    """

    @abstractmethod
    def generate(self, generation_params: GenerationParamsTContr) -> pd.DataFrame:
        """Generate a table of the columns and kinds that the model was trained on.

        Randomness may come from torch's global generators: they are seeded for each call.
        """
