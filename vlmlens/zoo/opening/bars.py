"""The bars that transformers and the hub draw while they fetch and load."""

from transformers.utils import logging


def without_bars() -> None:
    """Have no bars drawn from now on; the hub's are turned off with transformers'."""
    logging.disable_progress_bar()
