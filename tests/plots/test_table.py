from pkgutil import iter_modules

from vlmlens import plots

MACHINERY = {"arrays", "export", "picture", "placed", "theme"}


def test_every_file_of_the_folder_is_in_the_table():
    files = {module.name for module in iter_modules(plots.__path__)} - MACHINERY
    assert set(plots.PLOTS) == files
    assert all(plots.PLOTS[name] is getattr(plots, name) for name in files)
