"""What ``import samedge`` offers, without importing it before it is asked for."""

import ast
import importlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import samedge
from samedge import edge, hessian, monitor, sam

MODULES = {"edge": edge, "hessian": hessian, "monitor": monitor, "sam": sam}


def python(repository, code):
    """Run code in a process of its own beside the package; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository / "workflow" / "scripts",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_large(repository):
    code = "import sys, samedge; dir(samedge); print(*sys.modules)"
    modules = set(python(repository, code).split())
    assert "samedge" in modules
    assert not modules & {"jax", "numpy", "optax", "xarray", "yaml", "difflib"}
    assert not [name for name in modules if name.startswith("samedge.")]


def test_the_edges_need_no_jax(repository):
    code = "import sys, samedge; print(samedge.sam_edge(1.0, 0.1, 0.0), 'jax' in sys.modules)"
    assert python(repository, code).split() == ["20.0", "False"]


@pytest.mark.parametrize("name", samedge.__all__)
def test_every_name_that_is_offered_is_there(name):
    assert getattr(samedge, name) is not None
    assert name in dir(samedge)


def test_what_is_offered_are_four_modules_and_all_of_theirs():
    names = {name for module in MODULES.values() for name in module.__all__}
    assert set(samedge.__all__) == {"__version__", *MODULES, *names}
    for title, module in MODULES.items():
        assert getattr(samedge, title) is module
        for name in module.__all__:
            assert getattr(samedge, name) is getattr(module, name)


def test_a_star_import_gives_all_of_it(repository):
    code = "from samedge import *; import samedge; print(set(samedge.__all__) <= {*globals()})"
    assert python(repository, code).strip() == "True"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("top_eigenpair", "; did you mean 'top_eigenpairs'?"),
        ("Hessian", "; did you mean 'hessian'?"),
        ("zzz", "; it offers RULES, Eigenpairs, "),
    ],
)
def test_an_unknown_name_is_answered_with_what_there_is(name, hint):
    with pytest.raises(AttributeError) as error:
        getattr(samedge, name)
    assert str(error.value).startswith(f"module 'samedge' has no attribute '{name}'{hint}")


def test_a_room_is_a_module_though_the_package_does_not_offer_it(repository):
    code = "import samedge; print(hasattr(samedge, 'base')); from samedge import base; print(base)"
    assert python(repository, code).startswith("False\n<module 'samedge.base'")


def test_what_make_imports_of_the_package_is_there(repository):
    text = (repository / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    imports = re.findall(r"from (samedge[\w.]*) import (\w+(?:, \w+)*)", text)
    assert imports
    for module, names in imports:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def defined(path):
    """Return the names that a module has at its top, its own and those it imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


@pytest.mark.parametrize("folder", ["benchmarks", "tests", "tools", "workflow"])
def test_whatever_is_imported_of_the_package_is_there(repository, folder):
    """Also by what no other test runs, such as a benchmark that takes hours."""
    scripts = repository / "workflow/scripts"
    for path in (repository / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = (isinstance(node, ast.ImportFrom) and node.module) or ""
            if not name.startswith("samedge."):
                continue
            module = scripts / name.replace(".", "/")
            for alias in node.names:
                in_folder = module.is_dir() and (
                    (module / f"{alias.name}.py").is_file() or (module / alias.name).is_dir()
                )
                file = module.with_suffix(".py")
                assert in_folder or (file.is_file() and alias.name in defined(file)), (
                    f"{path.relative_to(repository)} imports {alias.name} of {name}"
                )


def test_results_print_short():
    matrix = np.diag([3.0, -2.0, *np.linspace(0, 1, 998)]).astype(np.float32)
    operator = samedge.Operator(lambda matrix, vector: matrix @ vector, 1000, matrix)
    top = samedge.top_eigenpairs(operator, k=2, key=jax.random.key(0))
    assert re.fullmatch(
        r"Eigenpairs\(3 ± \S+, -2 ± \S+; 2 of 2 converged, \d+ products\)", repr(top)
    )
    density = samedge.spectral_density(operator, probes=2, steps=20, key=jax.random.key(0))
    assert repr(density).startswith("SpectralDensity(2 probes of 20 products: nodes -2 to 3, trace")
    pairs = samedge.RitzPairs(top.ritz_values, top.ritz_vectors)
    assert repr(pairs).startswith(f"RitzPairs({len(top.ritz_values)} pairs, kept in ")
    assert all(len(repr(one)) < 120 for one in (top, density, pairs))
