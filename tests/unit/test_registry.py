"""Names are registered once, looked up with help, and read from a module without importing it."""

import subprocess
import sys

import pytest

from samedge.base.components import PACKAGE, PLACES, components
from samedge.base.errors import UserError, did_you_mean
from samedge.base.registry import Registry


@pytest.fixture
def shapes():
    registry = Registry("shape")

    @registry.register("square")
    def square(side):
        return side * side

    @registry.register("circle")
    class Circle:
        pass

    registry.circle = Circle
    return registry


def test_a_registry_is_a_mapping_of_what_was_registered(shapes):
    assert shapes["square"](3) == 9
    assert shapes["circle"] is shapes.circle
    assert list(shapes) == ["square", "circle"]
    assert len(shapes) == 2
    assert "square" in shapes


def test_an_unknown_name_is_answered_with_the_nearest_and_all(shapes):
    with pytest.raises(UserError) as caught:
        shapes["sqare"]
    assert str(caught.value) == (
        "unknown shape 'sqare'; did you mean 'square'? (known: circle, square)"
    )


def test_a_name_is_taken_once(shapes):
    with pytest.raises(ValueError, match="the shape 'square' is registered twice"):
        shapes.register("square")(len)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("squre", "; did you mean 'square'?"),
        ("SQUARE", "; did you mean 'square'?"),
        ("circel", "; did you mean 'Circle'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_offered_if_it_is_near(name, hint):
    assert did_you_mean(name, ["square", "Circle"]) == hint


def test_what_is_made_with_equal_settings_is_one_object():
    registry = Registry("shape")

    @registry.register("box")
    def box(*, sides=()):
        return [*sides]

    first = registry.made("box", {"sides": [1, 2]})
    assert first == [1, 2] and registry.made("box", {"sides": [1, 2]}) is first
    assert registry.made("box", {"sides": [2]}) == [2]
    with pytest.raises(TypeError, match="edges"):
        registry.made("box", {"edges": 1})


def test_source_and_registry_agree_on_every_name():
    """The configuration is judged by the sources; jobs look names up in the imported modules."""
    modules = {
        "kind": "tasks.problems",
        "dataset": "data.prepare",
        "model": "tasks.model",
        "loss": "tasks.loss",
        "update": "updates.rule",
        "schedule": "updates.schedule",
    }
    assert modules.keys() == PLACES.keys()
    registries = [(modules[sort], place.registry) for sort, place in PLACES.items()]
    code = "import importlib\n" + "\n".join(
        f"{registry} = importlib.import_module('samedge.{module}').{registry}\n"
        f"print(*(name for name in {registry} if {registry}[name]))"
        for module, registry in registries
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = [set(line.split()) for line in run.stdout.splitlines()]
    assert imported == [set(components(sort)) for sort in PLACES]


def test_judging_a_configuration_imports_no_jax(repository):
    code = (
        "import sys; from samedge.config.experiment import load; load(sys.argv[1:]);"
        "heavy = {'jax', 'flax', 'haiku', 'optax', 'xarray', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", code, str(repository / "config.yaml")]
    subprocess.run(command, cwd=PACKAGE.parent, check=True)
