"""No module imports its importer, also not lazily or for a type checker alone."""

from modules import circles, graph, read, working_tree

CIRCLES = circles(graph(read(working_tree())))


def test_no_modules_import_each_other():
    assert CIRCLES == []


def package_of(**texts):
    return read({f"src/vantage/{name}.py": text for name, text in texts.items()})


def test_lazy_imports_and_those_for_type_checkers_close_a_circle():
    modules = package_of(
        a="from vantage import b",
        b="def f():\n    import vantage.c",
        c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A",
        d="from vantage.a import A",
    )
    assert graph(modules)["vantage.d"] == {"vantage.a"}
    assert circles(graph(modules)) == [["vantage.a", "vantage.b", "vantage.c"]]


def test_an_import_by_name_closes_a_circle():
    modules = package_of(
        a="from importlib import import_module\nimport_module(f'vantage.{engine}.resolving')",
        **{"trl/resolving": "from vantage.a import A", "trl/__init__": ""},
    )
    assert circles(graph(modules)) == [["vantage.a", "vantage.trl.resolving"]]


def test_a_package_may_import_what_is_in_it():
    modules = package_of(
        **{"room/__init__": "from .inner import f", "room/inner": "from vantage.other import g"},
        other="",
    )
    assert graph(modules)["vantage.room"] == {"vantage.room.inner"}
    assert circles(graph(modules)) == []
