"""Imports point one way: each folder imports only those below it, and modules in no circle."""

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter

import pytest

PACKAGES = ("search", "spaces", "trainable")
# From the top down; a folder may import those in the lines below its own.
LEVELS = """\
search.notebook
search.run search.report search.confirm search.export search.bench search.replay search.predict
search.students
search.sweep
search.sweep.hooks
search.sweep.processes
search.policy
search.results
search.record
search.plan
search.exit_codes
spaces
trainable.trial
trainable.serving
trainable.teacher
trainable.engine
trainable.models
trainable.data
trainable.config
trainable.common
"""
LEVEL = {name: number for number, line in enumerate(LEVELS.splitlines()) for name in line.split()}


@cache
def imported_modules(path):
    """Every module a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module)
    return found


def modules(repository):
    """Each module of the product by its dotted name, with what it imports of the product."""
    for package in PACKAGES:
        for path in (repository / package).rglob("*.py"):
            parts = path.relative_to(repository).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            ours = [m for m in imported_modules(path) if m.partition(".")[0] in PACKAGES]
            yield name, path, ours


def folder_of(module):
    """The folder of a module that has a level: `search.run` for `search.run.__main__`."""
    parts = module.split(".")
    own = ".".join(parts[:3])
    return "spaces" if parts[0] == "spaces" else own if own in LEVEL else ".".join(parts[:2])


def test_every_folder_imports_only_those_below(repository):
    seen = set()
    for name, _, imported in modules(repository):
        folder = folder_of(name)
        if folder == "trainable":  # the package itself names its own by text
            assert not imported
            continue
        if folder in ("search", "search.__main__", "trainable.__main__"):
            continue
        seen.add(folder)
        for other in map(folder_of, imported):
            assert other == folder or LEVEL[other] > LEVEL[folder], f"{name} imports {other}"
    assert seen == set(LEVEL)


def test_spaces_import_names_and_errors(repository):
    found = {
        m for name, _, ours in modules(repository) if folder_of(name) == "spaces" for m in ours
    }
    light = ("trainable.config.", "trainable.common.errors", "spaces.")  # none loads torch
    assert all(module.startswith(light) for module in found)


def test_ray_stands_in_search_and_one_adapter(repository):
    with_ray = {
        name
        for name, path, _ in modules(repository)
        if name.startswith("trainable")
        and any(m.partition(".")[0] == "ray" for m in imported_modules(path))
    }
    assert with_ray == {"trainable.trial.tune_function"}


def test_the_policy_has_no_clock_and_no_disk_and_replay_no_sweep(repository):
    for path in (repository / "search" / "policy").glob("*.py"):
        assert not {"datetime", "os", "pathlib", "random", "time"} & {*imported_modules(path)}, path
    for name, _, ours in modules(repository):
        if folder_of(name) == "search.replay":
            assert not any(module.startswith("search.sweep") for module in ours), name


def test_no_import_runs_in_a_circle(repository):
    graph = {name: imported for name, _, imported in modules(repository)}
    assert all(module in graph for imported in graph.values() for module in imported)
    TopologicalSorter(graph).prepare()  # CycleError has the circle


def test_folders_and_files_stay_small(repository):
    """At most about a dozen files a folder, none of one file, no file over about 300 lines."""
    for package in PACKAGES:
        for folder in [repository / package, *(repository / package).rglob("*/")]:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            if files and folder != repository / package:
                assert 1 < len(files) <= 13, folder
            for path in files:
                assert len(path.read_text(encoding="utf-8").splitlines()) <= 310, path


def test_help_loads_neither_torch_nor_ray(printed_by):
    """Of each whole command, as its user calls it."""
    commands = ["run", "report", "confirm", "export", "bench"]
    code = (
        "import sys; from importlib import import_module\n"
        f"for command in {commands}:\n"
        "    try:\n        import_module(f'search.{command}.__main__').main(['--help'])\n"
        "    except SystemExit as end:\n        assert end.code == 0\n"
        "    print([command, *{'torch', 'ray', 'transformers'} & sys.modules.keys()])"
    )
    lines = printed_by(code)
    assert sum(line.startswith("usage: ") for line in lines) == len(commands)
    assert [line for line in lines if line.startswith("['")] == [f"['{c}']" for c in commands]


def test_a_mistake_in_the_data_is_told_before_torch_is_loaded(printed_by, tmp_path):
    (tmp_path / "data.csv").write_text("words,label\ngood,1\nbad,0\n")
    given = ["--space", "schedules", "--preset", "mini", "--dataset", str(tmp_path / "data.csv")]
    code = (
        "import sys; from search.run.__main__ import main\n"
        f"print(main({given}), sorted({{'torch', 'transformers'}} & sys.modules.keys()))"
    )
    assert printed_by(code)[-1] == "2 []"


@pytest.mark.parametrize("package", ["spaces", "trainable"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_users_own_that_hides_a_package_is_told_in_a_line(repository, tmp_path, package, kind):
    """As one's own spaces may lie in a folder of that name."""
    theirs = tmp_path / (package if kind == "folder" else f"{package}.py")
    if kind == "folder":
        theirs.mkdir()
    (theirs / "__init__.py" if kind == "folder" else theirs).touch()
    environment = os.environ | {"PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "search.run", "--help"]
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": environment}
    done = subprocess.run(command, check=False, **options)
    said = f"error: {theirs} hides this project's package {package}; rename it, or work elsewhere\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
