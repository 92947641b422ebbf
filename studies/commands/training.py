"""Whether this installation can train: the command line does all else without PyTorch."""

import importlib.util

from studies.errors import NotInstalled


def require_training(what: str) -> None:
    """Return if PyTorch is installed; it is not loaded yet.

    Args:
        what: that needs it, as the beginning of a sentence.

    Raises:
        NotInstalled: it is not.
    """
    try:
        found = importlib.util.find_spec("torch") is not None
    except ModuleNotFoundError:  # an import hook may say so itself
        found = False
    if not found:
        raise NotInstalled(
            f"{what} needs PyTorch, which is not installed; run: pip install 'rigl-study[train]' (in a clone: pip "
            "install '.[train]'; in containers, use the image of the workers)."
        )
