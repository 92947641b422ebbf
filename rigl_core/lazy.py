"""Registry rows that name a function without importing its module.

The command line and the plan need to know which models and data sets exist; only a worker needs the torch behind them.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Lazy:
    """A callable given as module and name, imported when first called.

    Attributes:
        module: dotted module.
        name: the function in it.
        options: keyword arguments always passed; the caller's own win.
    """

    module: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def resolve(self) -> Callable[..., Any]:
        """The function itself."""
        function: Callable[..., Any] = getattr(importlib.import_module(self.module), self.name)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import the function and call it."""
        return self.resolve()(*args, **{**self.options, **kwargs})
