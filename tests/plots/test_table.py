"""Whatever can be drawn is in the table of plots."""

from pkgutil import iter_modules

from vlmlens import plots
from vlmlens.plots import figures


def test_every_file_of_the_folder_is_in_the_table():
    files = {module.name for module in iter_modules(figures.__path__)}
    assert set(plots.PLOTS) == files | {"explorer"}  # which has a room of its own
    assert all(plots.PLOTS[name] is getattr(plots, name) for name in files)
