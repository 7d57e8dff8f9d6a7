"""Plugins: what their sources register, beside the package, and what is wrong with one."""

import hashlib
import subprocess
import sys

import pytest

from samedge.base import components
from samedge.base.components import PACKAGE, declared, plugin_checksums, plugins_of, use_plugins
from samedge.base.errors import UserError
from samedge.base.imports import sources_digest, sources_of
from samedge.base.plugins import require_importable
from samedge.tasks.loss import LOSSES

LOSS = """
import jax.numpy as jnp

from samedge.tasks.loss import LOSSES


@LOSSES.register("{name}", mean_over_examples=True)
def loss(outputs, targets, *, power: float = 3.0):
    return jnp.mean(jnp.abs(outputs - targets) ** power)
"""


CUBIC = LOSS.format(name="cubic")


@pytest.fixture(autouse=True)
def none_in_use():
    yield
    use_plugins([])


@pytest.fixture
def plugin(tmp_path):
    """Return a function that writes a plugin and returns its path."""

    def write(text=CUBIC, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_what_a_file_registers_is_read_from_its_source(plugin):
    source = plugin(
        "import a_package_that_does_not_exist\n"
        "@MODELS.register('net')\n"
        "def net(outputs, *, depth: int, width: int = 3): ...\n"
        "@registry.MODELS.register('plain')\n"
        "@cache\n"
        "def plain(outputs): ...\n"
        "@RULES.register('kind')\n"
        "class Kind: ...\n"
        "@other.decorator('not this')\n"
        "def helper(): ...\n"
        "@MODELS.register(computed_name)\n"
        "def dynamic(): ...\n"
    )
    assert declared(source) == {
        ("MODELS", "net"): {"depth": False, "width": True},
        ("MODELS", "plain"): {},
        ("RULES", "kind"): {},
    }
    use_plugins([source])
    assert components.components("model")["net"] == source
    assert components.settings_of("model")["net"] == {"depth": False, "width": True}
    assert components.components("update")["kind"] == source
    assert "net" not in components.components("update")


def test_a_plugin_is_imported_when_it_is_looked_up(plugin):
    path = plugin(LOSS.format(name="looked_up"), "looked_up.py")
    assert "looked_up" not in list(LOSSES)
    use_plugins([path])
    assert "looked_up" in list(LOSSES)
    assert f"samedge_plugin_{path.stem}" not in sys.modules
    assert float(LOSSES["looked_up"](2.0, 0.0, power=3.0)) == 8
    assert LOSSES.facts("looked_up") == {"mean_over_examples": True}


def test_a_run_depends_on_the_plugins_that_it_names(plugin):
    first = plugin()
    second = plugin(LOSS.format(name="other"), "second.py")
    script = PACKAGE / "training/job.py"
    use_plugins([first, second])
    assert plugins_of(loss="cubic", model="mlp") == [first]
    assert plugins_of(loss="squared_error", model="mlp") == []
    named = {"loss": "cubic", "model": "mlp"}
    # What it imports of the package is of the run as well, and it is not one of these files.
    assert "tasks/loss.py" in sources_of(script, **named)
    before = sources_digest(script, **named)
    second.write_text(second.read_text() + "# edited\n")
    assert sources_digest(script, **named) == before
    first.write_text(first.read_text() + "# edited\n")
    assert sources_digest(script, **named) != before
    assert plugin_checksums() == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)
    }


def test_plugins_do_not_change_what_other_runs_depend_on(plugin):
    script, named = PACKAGE / "training/job.py", {"loss": "squared_error", "model": "mlp"}
    before = sources_of(script, **named), sources_digest(script, **named)
    use_plugins([plugin()])
    assert (sources_of(script, **named), sources_digest(script, **named)) == before


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "the plugin cannot be read (No such file or directory)"),
        ("def broken(:\n", ", line 1: the plugin is not valid Python: invalid syntax"),
        ("x = 1\n", "registers nothing; it needs a function under a decorator such as @MODELS.reg"),
        (LOSS.format(name="squared_error"), "registers the loss 'squared_error', which is registe"),
        (LOSS.format(name="a") * 2, "the plugin is not valid Python: LOSSES has 'a' twice"),
    ],
    ids=["missing", "syntax", "nothing", "the package's", "twice"],
)
def test_what_is_wrong_with_a_plugin_is_named(plugin, tmp_path, text, complaint):
    path = tmp_path / "none.py" if text is None else plugin(text)
    with pytest.raises(UserError) as caught:
        use_plugins([path])
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


def test_two_plugins_that_clash_are_named(plugin):
    first, second = plugin(), plugin(LOSS.format(name="cubic"), "second.py")
    with pytest.raises(
        UserError, match=f"second.py: registers the loss 'cubic', .* by {first} alre"
    ):
        use_plugins([first, second])
    again = plugin(LOSS.format(name="other"), "elsewhere/mine.py")
    with pytest.raises(UserError, match=r"another plugin has the name mine\.py"):
        use_plugins([first, again])
    # What was in use stays so until there is something better.
    use_plugins([first])
    with pytest.raises(UserError):
        use_plugins([first, second])
    assert "cubic" in components.components("loss")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("import a_package_that_does_not_exist", "line 2: .*No module named 'a_package_that_does"),
        ("from samedge.tasks.loss import LOSES", "line 2: .*cannot import name 'LOSES'"),
        ("1 / 0", "line 2: the plugin cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_before_any_job(plugin, line, complaint):
    path = plugin(f'"""Mine."""\n{line}\n{LOSS.format(name="cubic")}')
    with pytest.raises(UserError, match=f"{path}, {complaint}"):
        require_importable([path])


def test_a_plugin_whose_packages_are_in_the_environment_of_jobs_alone_is_let_be(plugin, repository):
    without = {"PYTHONPATH": str(repository / "tests/workflow/without_jax")}
    code = (
        "import sys; from pathlib import Path; from samedge.base.plugins import require_importable;"
        "require_importable([Path(sys.argv[1])])"
    )
    command = [sys.executable, "-c", code, str(plugin())]
    subprocess.run(command, cwd=PACKAGE.parent, check=True)
    done = subprocess.run(
        command, cwd=PACKAGE.parent, env=without, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
