"""Imports point one way: search -> spaces -> the names of trainable, which knows neither."""

import ast
import subprocess
import sys

import pytest

PACKAGES = ("search", "spaces", "trainable")


def imported_modules(path):
    """Every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def own_imports(repository, package):
    for path in sorted((repository / package).glob("*.py")):
        for module in imported_modules(path):
            if module.partition(".")[0] in PACKAGES:
                yield path.name, module


def test_trainable_imports_only_itself(repository):
    found = list(own_imports(repository, "trainable"))
    assert len(found) > 50
    assert all(module.startswith("trainable.") for _, module in found)


def test_spaces_import_names_and_errors(repository):
    found = [m for _, m in own_imports(repository, "spaces") if not m.startswith("spaces")]
    assert found
    light = ("config", "errors", "layers", "names")  # none of which loads torch
    assert set(found) == {f"trainable.{name}" for name in light}


@pytest.mark.parametrize("name", ["losses", "alpha", "metrics", "learning_rate", "names"])
def test_pure_files_import_no_sibling(repository, name):
    path = repository / "trainable" / f"{name}.py"
    assert not [m for m in imported_modules(path) if m.partition(".")[0] in PACKAGES]


def test_ray_stands_in_search_and_one_adapter(repository):
    with_ray = {
        path.name
        for path in (repository / "trainable").glob("*.py")
        if any(m.partition(".")[0] == "ray" for m in imported_modules(path))
    }
    assert with_ray == {"tune_function.py"}


def test_no_import_runs_in_a_circle(repository):
    graph = {}
    for package in PACKAGES:
        for path in (repository / package).glob("*.py"):
            name = package if path.stem == "__init__" else f"{package}.{path.stem}"
            graph[name] = [m for m in imported_modules(path) if m.partition(".")[0] in PACKAGES]

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        for other in graph.get(module, ()):
            visit(other, [*trail, module])

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize("command", ["run", "report", "confirm", "export", "bench"])
def test_help_loads_neither_torch_nor_ray(repository, command):
    """Of the whole command, as its user calls it."""
    code = (
        f"import sys; from search.{command} import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")
    assert done.stdout.splitlines()[-1] == "[]"
