"""A configuration is read, merged and judged; what is wrong is named with what would be right."""

import copy
import dataclasses
import datetime
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from samedge.base import components
from samedge.base.errors import UserError
from samedge.config import experiment as configuration
from samedge.config import references, settings

ABSENT = object()


@pytest.fixture(scope="module")
def default(repository):
    """The shipped default, as YAML gives it."""
    return yaml.safe_load((repository / "config.yaml").read_text())


@pytest.fixture
def refused(default):
    """Return the lines of complaint about the default with some keys set otherwise."""

    def lines(changes):
        with pytest.raises(UserError) as caught:
            configuration.validate(changed(default, changes))
        first, *rest = str(caught.value).splitlines()
        assert first == "configuration is not a valid experiment:"
        return [line.strip() for line in rest]

    return lines


def changed(config, changes):
    """Return a copy with values set at dotted keys; ABSENT takes a key away."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        *outer, last = key.split(".")
        inner = config
        for part in outer:
            inner = inner[part]
        if value is ABSENT:
            del inner[last]
        else:
            inner[last] = value
    return config


# Written and read again


@pytest.mark.parametrize(
    "overlays", [[], ["laptop"], ["length"], ["paper"], ["night"], ["networks"]]
)
def test_a_resolved_configuration_loads_as_the_same_experiment(repository, tmp_path, overlays):
    paths = [repository / "config.yaml", *(repository / f"config/{n}.yaml" for n in overlays)]
    experiment = configuration.load(paths)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(configuration.resolved(experiment))
    assert configuration.load([resolved]) == experiment


def test_a_resolved_configuration_keeps_how_numbers_are_spelled(default, tmp_path):
    changes = {"tasks.mnist.eta": ["1e-7", 1.0, 2, 30000.0], "tasks.mnist.rho": [0, 1.0]}
    changes |= {"tasks.mnist.figure_rho": 1, "tasks.cifar10": None}
    experiment = configuration.validate(changed(default, changes))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(configuration.resolved(experiment))
    again = configuration.load([resolved])
    assert again == experiment
    assert again.tasks["mnist"].eta == ("0.0000001", "1.0", "2", "30000.0")
    assert again.tasks["mnist"].figure_rho == "1.0"


# Keys that are not known, or missing


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("sauce", "top level: unknown key 'sauce'; did you mean 'source'?"),
        ("curvature.tolerence", "curvature: unknown key 'tolerence'; did you mean 'tolerance'?"),
        ("tasks.mnist.etas", "tasks.mnist: unknown key 'etas'; did you mean 'eta'?"),
        (
            "tasks.mnist.dataset.train_example",
            "tasks.mnist.dataset: unknown key 'train_example'; did you mean 'train_examples'?",
        ),
        (
            "tasks.mnist.model.settings.widht",
            "tasks.mnist.model.settings: unknown key 'widht'; did you mean 'width'?",
        ),
        ("figures.zzz", "figures: unknown key 'zzz'; known: time_axis"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(refused, key, line):
    assert refused({key: 1}) == [line]


@pytest.mark.parametrize("key", ["seeds", "curvature.tolerance", "tasks.mnist.checks.spacing"])
def test_a_missing_key_is_named(refused, key):
    *outer, last = key.split(".")
    assert refused({key: ABSENT}) == [f"{'.'.join(outer) or 'top level'}: missing {last}"]


def test_a_misspelt_key_is_both_unknown_and_missing(refused):
    lines = refused({"tasks.mnist.eta": ABSENT, "tasks.mnist.Eta": [0.1]})
    assert lines == [
        "tasks.mnist: unknown key 'Eta'; did you mean 'eta'?",
        "tasks.mnist: missing eta",
    ]


def test_every_mistake_is_reported_at_once(refused):
    lines = refused({"source": "web", "seeds": [], "curvature.eigenvalues": 0})
    assert [line.split(":")[0] for line in lines] == ["curvature.eigenvalues", "seeds", "source"]


def test_a_model_without_name_is_not_taken_for_another(refused):
    assert refused({"tasks.mnist.model.name": ABSENT}) == ["tasks.mnist.model: missing name"]


@pytest.mark.parametrize("name", [1, True, None, datetime.date(2024, 1, 1)])
def test_a_key_that_yaml_does_not_read_as_text_is_named(refused, name):
    [line] = refused({"tasks": {name: {}}})
    assert line.startswith("tasks: the key ") and line.endswith(" is not text; put it in quotes")


@pytest.mark.parametrize("name", ["Mnist", "my-task", "2nd", "a b", "mnist\n", "../up"])
def test_a_task_needs_a_name_fit_for_a_path(refused, default, name):
    lines = refused({"tasks": {name: default["tasks"]["mnist"]}})
    assert len(lines) == 1 or name.endswith("\n")
    assert lines[0].startswith("tasks: '")
    assert "lower-case letters, digits and underscores, the first a letter" in " ".join(lines)


# Types


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("seeds", 0, "seeds: found 0, must be a list"),
        ("seeds", ["a"], 'seeds[0]: found "a", must be a whole number'),
        ("seeds", [0, True], "seeds[1]: found true, must be a whole number"),
        ("seeds", [0.0], "seeds[0]: found 0.0, must be a whole number without point or exponent"),
        ("seeds", [-1], "seeds[0]: found -1, must be at least 0"),
        ("seeds", [2**32], "seeds[0]: found 4294967296, must be at most 4294967295"),
        ("experiment", 2024, "experiment: found 2024, must be text (in quotes"),
        ("curvature", None, "curvature: found null, must be keys and values"),
        ("curvature.eigenvalues", True, "curvature.eigenvalues: found true, must be a whole"),
        ("curvature.tolerance", "small", 'curvature.tolerance: found "small", must be a number'),
        ("curvature.tolerance", 1, "curvature.tolerance: found 1, must be at most 0.1"),
        ("curvature.overlook", 0, "curvature.overlook: found 0, must be greater than 0"),
        ("curvature.ends", 0, "curvature.ends: found 0, must be greater than 0"),
        ("curvature.ends", 1, "curvature.ends: found 1, must be less than 1"),
        ("curvature.certify", 0, "curvature.certify: found 0, must be at least 1"),
        ("curvature.certify", 2.0, "curvature.certify: found 2.0, must be a whole number"),
        ("divergence.loss_factor", 1, "divergence.loss_factor: found 1, must be greater than 1"),
        ("tasks.mnist.eta", 0.1, "tasks.mnist.eta: found 0.1, must be a list"),
        ("tasks.mnist.eta", [], "tasks.mnist.eta: needs at least 1 entry"),
        ("tasks.mnist.eta", [True], "tasks.mnist.eta[0]: found true, must be a number"),
        ("tasks.mnist.eta", ["0,1"], 'tasks.mnist.eta[0]: found "0,1", must be a number'),
        ("tasks.mnist.eta", [0.1, -0.3], "tasks.mnist.eta[1]: found -0.3, must be greater than 0"),
        ("tasks.mnist.eta", [0], "tasks.mnist.eta[0]: found 0, must be greater than 0"),
        ("tasks.mnist.rho", [-0.1], "tasks.mnist.rho[0]: found -0.1, must be at least 0"),
        ("tasks.mnist.figure_rho", None, "tasks.mnist.figure_rho: found null, must be a number"),
        ("tasks.mnist.batch_size", 0, "tasks.mnist.batch_size: found 0, must be at least 1"),
        ("tasks.mnist.batch_size", 2.5, "tasks.mnist.batch_size: found 2.5, must be null or a"),
        ("tasks.mnist.budget.steps", "1e3", "tasks.mnist.budget.steps: found 1000.0, must be null"),
        ("tasks.mnist.model.settings", None, "tasks.mnist.model.settings: found null, must be key"),
        (
            "tasks.mnist.model.settings.depth",
            4.0,
            "tasks.mnist.model.settings.depth: found 4.0, must be a whole number without point",
        ),
        ("tasks", None, "tasks: found null, must be keys and values"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(refused, key, value, line):
    [found] = refused({key: value})
    assert found.startswith(line)


def test_a_complaint_says_what_the_key_means(refused):
    [line] = refused({"curvature.max_products": 1})
    assert "cap on Hessian-vector products of one check" in line


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("source", "sample, tfds; did you mean 'tfds'?"),
        ("device", "auto, cpu, gpu:"),
        ("precision", "highest, high, default:"),
        ("figures.time_axis", "training_time, step:"),
        ("tasks.mnist.checks.spacing", "even, geometric, geometric_then_even, time:"),
    ],
)
def test_a_choice_lists_the_options(refused, key, options):
    [line] = refused({key: "TFDS"})
    assert line.startswith(f'{key}: found "TFDS", must be one of {options}')


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("key", ["tasks.mnist.budget.hours", "curvature.tolerance"])
def test_numbers_are_finite(refused, key, value):
    shown = "-inf" if value == "-inf" else "nan" if value == "nan" else "inf"
    spelled = value if value == "1e999" else float(value)
    assert refused({key: spelled}) == [f"{key}: found {shown}, must be a finite number"]


def test_numbers_in_lists_are_finite(refused):
    [line] = refused({"tasks.mnist.rho": [0, 0.1, float("nan")]})
    assert line == "tasks.mnist.rho[2]: found nan, must be a finite number"


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a b", "name\n", "-x", "é", "a\\b"])
def test_an_experiment_is_named_like_a_folder(refused, name):
    [line] = refused({"experiment": name})
    assert "is not allowed: name of the experiment and of its folder" in line
    assert line.endswith(
        "letters, digits, dots, dashes and underscores, the first a letter or digit"
    )


def test_an_experiment_has_a_name_that_file_systems_can_hold(refused):
    [line] = refused({"experiment": "x" * 101})
    assert "must have at most 100 characters" in line


@pytest.mark.parametrize("name", ["a", "2024-run_1.b", "3e8", "X" * 100])
def test_a_good_name_is_kept_as_it_is(default, name):
    assert configuration.validate(default | {"experiment": name}).name == name


# The grid


@pytest.mark.parametrize("values", [[0.1, 0.1], [0.1, "1e-1"], [0.1, 1, 0.10]])
def test_a_grid_point_stands_once(refused, values):
    [line] = refused({"tasks.mnist.eta": values})
    assert line == "tasks.mnist.eta: 0.1 is listed 2 times; list each value once"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"together.axes": ["seed", "rho", "seed"]}, "together.axes: seed is listed 2 times"),
        ({"together.axes": ["seeds"]}, 'together.axes[0]: found "seeds", must be one of'),
        ({"together.most": 0}, "together.most: found 0"),
    ],
)
def test_what_cannot_be_trained_together_is_named(refused, change, fault):
    [line] = refused(change)
    assert line.startswith(fault)


def test_duplicate_radii_and_seeds_are_named(refused):
    lines = refused({"tasks.mnist.rho": [0, 0.0, 0.1], "seeds": [3, 3, 3]})
    assert lines == [
        "seeds: 3 is listed 3 times; list each value once",
        "tasks.mnist.rho: 0 is listed 2 times; list each value once",
    ]


@pytest.mark.parametrize("key", ["density.at", "blocks.at", "audit.at"])
def test_shares_of_the_budget_are_distinct_and_ascending(refused, key):
    assert refused({key: [0, 0.5, 0.5]}) == [f"{key}: 0.5 is listed 2 times; list each value once"]
    assert refused({key: [0.5, 0]}) == [
        f"{key}: found [0.5, 0], must be in ascending order: 0, 0.5"
    ]
    [line] = refused({key: [50]})
    assert line.startswith(f"{key}[0]: found 50, must be at most 1")


def test_shares_of_the_budget_have_one_spelling(default):
    built = [
        configuration.validate(changed(default, {"density.at": at})) for at in ([0, 1], [0.0, 1.0])
    ]
    assert built[0].density == built[1].density
    assert [type(share) for share in built[0].density.at] == [float, float]


def test_the_radius_of_the_figures_is_on_the_grid(refused):
    [line] = refused({"tasks.mnist.figure_rho": 0.5})
    assert line == "tasks.mnist.figure_rho: found 0.5, must be one of rho: 0, 0.1"


def test_the_radius_of_the_figures_is_spelled_as_in_the_grid(default):
    changes = {"tasks.mnist.rho": [0, 1.0], "tasks.mnist.figure_rho": 1}
    task = configuration.validate(changed(default, changes)).tasks["mnist"]
    assert (task.rho, task.figure_rho) == (("0", "1.0"), "1.0")


def test_numbers_in_lists_of_the_command_line_are_numbers(default):
    """``snakemake --config 'seeds=[0,7]'`` gives a list of text."""
    as_text = changed(default, {"seeds": ["0", "7"], "density.at": ["0.5", "1"]})
    as_numbers = changed(default, {"seeds": [0, 7], "density.at": [0.5, 1]})
    assert configuration.validate(as_text) == configuration.validate(as_numbers)


@pytest.mark.parametrize("spelling", ["null", "Null", "NULL", "~"])
def test_null_of_the_command_line_is_null(default, spelling):
    """``snakemake --config 'tasks={mnist: {batch_size: null}}'`` gives text."""
    values = {
        "compilation_cache": spelling,
        "tasks.mnist.batch_size": spelling,
        "tasks.mnist.microbatch": spelling,
        "tasks.tiny_shakespeare": spelling,
    }
    experiment = configuration.validate(changed(default, values))
    assert experiment == configuration.validate(changed(default, dict.fromkeys(values)))
    assert experiment.compilation_cache is None
    assert list(experiment.tasks) == ["mnist", "cifar10"]
    named = configuration.validate(changed(default, {"experiment": spelling.replace("~", "null")}))
    assert named.name.lower() == "null"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks.mnist.eta", 1e39),
        ("tasks.mnist.eta", 1e-46),
        ("tasks.mnist.eta", 1e-39),
        ("tasks.mnist.rho", 1e39),
        ("tasks.mnist.rho", 1e-46),
        ("tasks.mnist.update.epsilon", 1e39),
    ],
)
def test_what_float32_does_not_hold_is_refused(refused, key, value):
    """Such a learning rate trains with infinity or zero, such a radius without SAM."""
    listed = not key.endswith("epsilon")
    changes = {key: [0.5, value] if listed else value}
    if key.endswith("rho"):
        changes["tasks.mnist.figure_rho"] = 0.5
    [line] = refused(changes)
    where = f"{key}[1]" if listed else key
    assert line == (
        f"{where}: {value:g} is beyond the numbers of float32, in which runs are trained; give "
        f"{'one' if 'eta' in key else '0 or one'} from 1.18e-38 to 3.4e+38"
    )


def test_truth_values_of_the_command_line_are_no_text(default):
    """They reach the settings of a model of one's own, where the text "false" counts as true."""
    options = {"a": "false", "b": "True", "c": "fancy", "d": "0.5"}
    plain = configuration._plain({"model": {"name": "true", "settings": options}})
    assert plain["model"] == {
        "name": "true",
        "settings": {"a": False, "b": True, "c": "fancy", "d": 0.5},
    }


def test_an_exponent_without_a_point_is_a_number(default):
    """YAML reads 1e-3 as text and 1.0e-3 as a number."""
    experiments = []
    for spelling in ("1e-3", "1.0e-3"):
        text = f"eta: [{spelling}]\nrho: [0, {spelling}]\nfigure_rho: {spelling}"
        overlay = {"tasks": {"mnist": yaml.safe_load(text)}}
        merged = copy.deepcopy(default)
        update_config(merged, overlay)
        experiments.append(configuration.validate(merged))
    first, second = experiments
    assert first == second
    task = first.tasks["mnist"]
    assert (task.eta, task.rho, task.figure_rho) == (("0.001",), ("0", "0.001"), "0.001")
    assert [run.to_json() for run in first.runs("mnist")] == [
        run.to_json() for run in second.runs("mnist")
    ]


# Names in registries


@pytest.mark.parametrize(
    ("key", "name", "hint", "module"),
    [
        ("kind", "image", "images", "tasks/kinds"),
        ("dataset.name", "mnits", "mnist", "data/sets"),
        ("model.name", "MLP", "mlp", "tasks/models"),
        ("loss.name", "square_error", "squared_error", "tasks/losses"),
        ("update.name", "sma", "sam", "updates/rules"),
    ],
)
def test_an_unknown_name_is_named_with_the_nearest_and_where_to_register_it(
    refused, key, name, hint, module
):
    [line] = refused({f"tasks.mnist.{key}": name})
    start = f"tasks.mnist.{key}: unknown name '{name}'; did you mean '{hint}'? (registered in "
    assert line.startswith(f"{start}{module}: ")
    assert hint in line.removeprefix(start)


# Budget and checks


@pytest.mark.parametrize(
    ("budget", "checks", "line"),
    [
        ((None, None), ("time", None, 5), "budget: steps and hours are both null"),
        ((100, None), ("time", None, None), "checks.minutes: null, but spacing: time needs"),
        ((100, None), ("even", None, None), "checks.count: null, but spacing: even needs a count"),
        ((None, 2), ("even", 5, None), "budget.steps: null, but spacing: even is in steps"),
        ((None, 2), ("geometric", 5, None), "budget.steps: null, but spacing: geometric is in"),
        ((10, None), ("even", 12, None), "checks.count: 12 checks do not fit 10 steps (at most 11"),
        ((10, None), ("even", 3, 5), "checks.minutes: 5 has no effect with spacing: even"),
        ((10, None), ("time", 3, 5), "checks.count: 3 has no effect with spacing: time"),
    ],
)
def test_checks_fit_the_budget(refused, budget, checks, line):
    changes = {
        "tasks.mnist.budget": dict(zip(("steps", "hours"), budget, strict=True)),
        "tasks.mnist.checks": dict(zip(("spacing", "count", "minutes"), checks, strict=True)),
    }
    [found] = refused(changes)
    assert found.startswith(f"tasks.mnist.{line}")


def test_the_cap_on_products_leaves_room_to_certify(refused):
    [line] = refused({"curvature.eigenvalues": 8, "curvature.max_products": 15})
    assert line == (
        "curvature.max_products: found 15, must be at least 16, twice curvature.eigenvalues"
    )


def test_the_solver_keeps_room_for_what_it_is_asked_for(refused):
    [line] = refused({"curvature.eigenvalues": 16, "curvature.max_vectors": 20})
    assert line == (
        "curvature.max_vectors: found 20, must be at least 21 for 16 curvature.eigenvalues"
    )


def test_batches_fit_the_data(refused):
    lines = refused({"tasks.mnist.batch_size": 2000, "tasks.mnist.microbatch": 300})
    assert lines == [
        "tasks.mnist.batch_size: 2000 is more than dataset.train_examples, 1000",
        "tasks.mnist.microbatch: 300 does not divide the batch of 2000 examples, batch_size",
    ]
    [line] = refused({"tasks.cifar10.dataset.train_examples": 200, "tasks.cifar10.microbatch": 30})
    assert line == (
        "tasks.cifar10.microbatch: 30 does not divide the batch of 200 examples, "
        "dataset.train_examples"
    )


# Overlays


def test_a_task_set_to_null_is_left_out(default):
    assert list(configuration.validate(changed(default, {"tasks.cifar10": None})).tasks) == [
        "mnist",
        "tiny_shakespeare",
    ]


def test_an_experiment_keeps_a_task(refused, default):
    [line] = refused({"tasks": dict.fromkeys(default["tasks"])})
    assert line.startswith("tasks: needs at least 1 entry")


def test_an_overlay_can_replace_a_model(default):
    """Merging keeps the settings of the old model; null takes them away."""
    overlay = {"name": "cnn", "settings": {"blocks": 1, "channels": 2}}
    removed = {"depth": None, "width": None}
    merged = copy.deepcopy(default)
    update_config(merged, {"tasks": {"mnist": {"model": overlay}}})
    with pytest.raises(UserError, match=r"tasks.mnist.model.settings: unknown key 'depth'"):
        configuration.validate(merged)
    update_config(merged, {"tasks": {"mnist": {"model": {"settings": removed}}}})
    model = configuration.validate(merged).tasks["mnist"].model
    assert (model.name, model.settings) == ("cnn", {"blocks": 1, "channels": 2})


def test_settings_of_an_update_rule_are_judged_as_a_models_are(refused, default, monkeypatch):
    key = "tasks.mnist.update.settings"
    [line] = refused({key: {"momentum": 0.9}})
    assert line == f"{key}: unknown key 'momentum'; known: none, for lack of keyword-only arguments"
    [line] = refused({key: [1]})
    assert line.startswith(f"{key}: found [1], must be keys and values")
    removed = configuration.validate(changed(default, {key: {"momentum": None}}))
    assert removed.tasks["mnist"].update.settings == {}
    known = components.settings_of("update") | {"sam": {"momentum": False, "nesterov": True}}
    monkeypatch.setattr(
        references,
        "settings_of",
        lambda sort: known if sort == "update" else components.settings_of(sort),
    )
    assert refused({key: {}})[0] == f"{key}: missing momentum"


@pytest.mark.parametrize(
    ("dataset", "line"),
    [
        ({"name": "tfds:"}, "name: found 'tfds:', must name a data set, as tfds:fashion_mnist"),
        ({"name": "mnist:x"}, "name: found 'mnist:x', and only tfds: takes a name after a colon"),
        ({"name": "tdfs:x"}, "name: found 'tdfs:x', and only tfds: takes a name after a colon"),
        ({"name": "arrays"}, " missing file, the .npz that holds the arrays"),
        ({"file": "x.npz"}, "file: has no effect with the data set mnist; only arrays are read"),
    ],
)
def test_what_comes_with_the_name_of_a_data_set_is_judged(refused, default, dataset, line):
    whole = default["tasks"]["mnist"]["dataset"] | dataset
    found, *_ = refused({"tasks.mnist.dataset": whole})
    assert found.startswith(f"tasks.mnist.dataset{':' if line[0] == ' ' else '.'}{line}")


def test_paths_are_relative_to_the_file_that_names_them(repository, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    overlays = {
        here / "one.yaml": {"plugins": ["mine.py"]},
        there / "two.yaml": {
            "tasks": {"mnist": {"dataset": {"name": "arrays", "file": "mine.npz"}}}
        },
    }
    for path, values in overlays.items():
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(values))
    (here / "mine.py").write_text('@LOSSES.register("mine")\ndef mine(outputs, targets): ...\n')
    experiment = configuration.load([repository / "config.yaml", *overlays])
    assert experiment.plugins == (here / "mine.py",)
    assert experiment.data_files == {"mnist": there / "mine.npz"}
    run, *_ = experiment.runs("mnist")
    # Where they lie is no part of a run.
    assert (run.dataset.file, run.source) == ("mine.npz", "file")
    assert str(tmp_path) not in run.to_json()
    resolved = json.loads(configuration.resolved(experiment))
    assert resolved["plugins"] == ["plugins/mine.py"]
    components.use_plugins([])


def test_a_run_reads_as_before_where_its_rule_has_no_settings(default):
    run, *_ = configuration.validate(default).runs("mnist")
    assert json.loads(run.to_json())["update"] == {"name": "sam", "epsilon": 1e-5}
    update = dataclasses.replace(run.update, settings={"momentum": 0.9})
    with_settings = dataclasses.replace(run, update=update)
    assert type(run).from_json(with_settings.to_json()) == with_settings


def test_validating_leaves_the_configuration_alone(default):
    config = changed(default, {"tasks.cifar10": None, "tasks.mnist.eta": ["1e-3"]})
    before = copy.deepcopy(config)
    configuration.validate(config)
    assert config == before


nested = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
)
configurations = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(files=st.lists(configurations, min_size=1, max_size=3))
def test_files_merge_as_snakemake_merges_them(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("merge")
    paths = [folder / f"{index}.yaml" for index in range(len(files))]
    merged = {}
    for path, content in zip(paths, files, strict=True):
        path.write_text(yaml.safe_dump(content))
        update_config(merged, copy.deepcopy(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "validate", lambda config, where, paths: (config, where))
        assert configuration.load(paths) == (merged, " + ".join(map(str, paths)))


@pytest.mark.parametrize(
    ("overlays", "source", "runs"),
    [
        ([], "sample", {"mnist": 6, "cifar10": 6, "tiny_shakespeare": 6}),
        (["laptop"], "tfds", {"mnist": 12, "cifar10": 16, "tiny_shakespeare": 24}),
        (["length"], "tfds", {"mnist": 36, "cifar10": 48, "tiny_shakespeare": 72}),
        (["paper"], "tfds", {"mnist": 12, "cifar10": 16, "tiny_shakespeare": 24}),
        (["night"], "tfds", {"mnist": 12, "cifar10": 16, "tiny_shakespeare": 24}),
    ],
)
def test_the_shipped_configurations(repository, default, overlays, source, runs):
    paths = [repository / "config.yaml", *(repository / f"config/{n}.yaml" for n in overlays)]
    experiment = configuration.load(paths)
    assert experiment.name == (overlays or ["default"])[0]
    assert experiment.source == source
    assert {task: len(experiment.runs(task)) for task in experiment.tasks} == runs
    by_snakemake = copy.deepcopy(default)
    for path in paths[1:]:
        update_config(by_snakemake, yaml.safe_load(path.read_text()))
    assert configuration.validate(by_snakemake) == experiment


# Files


def test_complaints_name_the_files(repository, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("sauce: tfds\n")
    base = repository / "config.yaml"
    with pytest.raises(UserError) as caught:
        configuration.load([base, overlay])
    assert str(caught.value).startswith(f"{base} + {overlay} is not a valid experiment:\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "must hold keys and values, found nothing"),
        (b"- a\n- b\n", 'must hold keys and values, found ["a", "b"]'),
        (b"just text", 'must hold keys and values, found "just text"'),
        (b"a: [1, 2", "not valid YAML: "),
        (b"a: 1\n\tb: 2\n", "not valid YAML: "),
        (b"a: \xff\xfe\n", "not valid YAML: "),
        (b"a: !!python/object:os.system {}\n", "not valid YAML: "),
    ],
)
def test_a_file_that_holds_no_configuration_is_named(tmp_path, content, complaint):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        configuration.load([path])
    assert str(caught.value).startswith(f"{path}: {complaint}")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in [
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(UserError) as caught:
            configuration.load([path])
        assert str(caught.value) == f"{path}: cannot be read ({reason})"


@pytest.mark.parametrize("name", ["paper", "night"])
def test_the_paper_does_not_depend_on_the_default_experiment(repository, name):
    alone = configuration.load([repository / "config" / f"{name}.yaml"])
    over = configuration.load([repository / "config.yaml", repository / "config" / f"{name}.yaml"])
    assert alone == over


def test_the_night_is_the_paper_but_for_its_budgets(repository):
    night, paper = (
        configuration.load([repository / "config" / f"{name}.yaml"]) for name in ("night", "paper")
    )
    tasks = {
        name: dataclasses.replace(
            task, budget=paper.tasks[name].budget, checks=paper.tasks[name].checks
        )
        for name, task in night.tasks.items()
    }
    assert dataclasses.replace(night, name="paper", tasks=tasks) == paper
    for task in night.tasks.values():
        assert task.budget.steps and task.budget.hours is None


def test_a_configuration_of_before_has_todays_ends_and_certifies_every_check(default):
    asked = default["curvature"]
    kept = {key: value for key, value in asked.items() if key not in ("ends", "certify")}
    curvature = configuration.validate(default | {"curvature": kept}).curvature
    assert (curvature.ends, curvature.certify) == (0.05, 1)


def test_blocks_are_those_of_the_run_and_of_its_task(default):
    plain = configuration.validate(default)
    [before] = [run.to_json() for run in plain.runs("mnist")[:1]]
    assert "blocks" not in before
    patterns = {"hidden": "dense_[12]/", "last": "dense_3"}
    changes = {"tasks.mnist.blocks": patterns}
    # Without a check at which they are measured they are no part of a run.
    [same] = [
        run.to_json() for run in configuration.validate(changed(default, changes)).runs("mnist")[:1]
    ]
    assert same == before
    experiment = configuration.validate(changed(default, changes | {"blocks": {"at": [0, 1]}}))
    run = experiment.runs("mnist")[0]
    assert (run.blocks.at, run.blocks.patterns) == ((0.0, 1.0), patterns)
    assert settings.RunSettings.from_json(run.to_json()) == run
    assert experiment.runs("cifar10")[0].blocks.patterns == {}
    again = json.loads(configuration.resolved(experiment))
    assert again["blocks"] == {"at": [0.0, 1.0]}
    assert again["tasks"]["mnist"]["blocks"] == patterns
    assert "blocks" not in again["tasks"]["cifar10"]
    assert configuration.validate(again).runs("mnist") == experiment.runs("mnist")


def test_minibatches_are_part_of_a_run_where_they_are_measured(default):
    experiment = configuration.validate(changed(default, {"stochastic": {"batches": 4}}))
    run = experiment.runs("mnist")[0]
    assert (run.stochastic.batches, run.stochastic.examples) == (4, None)
    assert settings.RunSettings.from_json(run.to_json()) == run
    again = configuration.validate(json.loads(configuration.resolved(experiment)))
    assert again.runs("mnist") == experiment.runs("mnist")
    # With other examples, and no batches, a run is as it was.
    none = {"stochastic": {"batches": 0, "examples": 100}}
    before = configuration.validate(default).runs("mnist")[0].to_json()
    assert configuration.validate(changed(default, none)).runs("mnist")[0].to_json() == before


def test_a_pattern_that_is_none_is_named(refused):
    [line] = refused({"tasks.mnist.blocks": {"head": "("}})
    assert line.startswith("tasks.mnist.blocks.head: '(' is no regular expression: ")


def test_a_table_of_claims_lies_beside_the_configuration_that_names_it(default, tmp_path):
    (tmp_path / "mine").mkdir()
    table = tmp_path / "mine/claims.toml"
    paths = [tmp_path / "config.yaml", tmp_path / "mine/overlay.yaml"]
    paths[0].write_text(yaml.safe_dump(default))
    paths[1].write_text("claims: claims.toml")
    for text, complaint in ((None, "cannot be read"), ("[claim", "no TOML")):
        if text is not None:
            table.write_text(text)
        with pytest.raises(UserError, match=f"claims: {table}: {complaint}"):
            configuration.load(paths)
    table.write_text("")
    experiment = configuration.load(paths)
    assert experiment.claims == table
    assert json.loads(configuration.resolved(experiment))["claims"] == "claims.toml"
    assert configuration.validate(default).claims is None
    assert "claims" not in json.loads(configuration.resolved(configuration.validate(default)))
