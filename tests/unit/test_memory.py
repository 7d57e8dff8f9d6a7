"""What a cluster is asked for: closed forms against the models, and estimates against jobs."""

import dataclasses
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from samedge.base.components import declared, settings_of
from samedge.config.experiment import load
from samedge.config.parts import DatasetSettings, ModelSettings
from samedge.tasks import memory, sizes
from samedge.tasks.model import MODELS

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "config.yaml"
WIDE = {"widening_factor": 2}
TRANSFORMER = {"heads": 2, "key_size": 3, "model_size": 10, "sequence_length": 7}


def first_run(task, *overlays):
    experiment = load([CONFIG, *(REPOSITORY / "config" / name for name in overlays)])
    settings = experiment.tasks[task]
    return experiment.run(task, settings.eta[0], settings.rho[0], 0)


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "settings"),
    [
        ("mlp", (28, 28, 1), 10, {"depth": 4, "width": 1000}),
        ("mlp", (5, 3, 2), 4, {"depth": 1, "width": 9}),
        ("cnn", (32, 32, 3), 10, {"blocks": 2, "channels": 16}),
        ("cnn", (9, 14, 1), 3, {"blocks": 3, "channels": 5}),
        ("resnet", (32, 32, 3), 10, {"stages": 3, "blocks": 2, "channels": 8, "norm": "batch"}),
        ("resnet", (8, 9, 1), 4, {"stages": 1, "blocks": 1, "channels": 4, "norm": "group"}),
        ("vit", (32, 32, 3), 10, {"patch": 4, "layers": 2, "heads": 4, "model_size": 64} | WIDE),
        ("vit", (8, 12, 1), 3, {"patch": 2, "layers": 1, "heads": 1, "model_size": 5} | WIDE),
        ("transformer", (), 128, {"layers": 2, "widening_factor": 4, **TRANSFORMER}),
        ("transformer", (), 11, {"layers": 3, "widening_factor": 2, **TRANSFORMER}),
    ],
)
def test_closed_forms_count_the_parameters_of_the_models(name, shape, outputs, settings):
    model = MODELS[name](outputs, **settings)
    example = jnp.zeros((1, *shape)) if shape else jnp.zeros((1, 7), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), example)
    counted = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sizes.SIZES[name](shape, outputs, **settings).parameters == counted


def test_every_model_has_a_size_and_takes_the_same_settings():
    known = {name: found for (_, name), found in declared(Path(sizes.__file__)).items()}
    assert known == settings_of("model")


def test_activations_of_a_perceptron_are_its_layers_before_and_after_relu():
    assert sizes.mlp((4,), 3, depth=3, width=5).activations == 4 + 2 * 5 + 2 * 5 + 3


def test_the_estimate_covers_what_the_papers_job_was_measured_to_take():
    measured = json.loads((REPOSITORY / "benchmarks/results/memory.json").read_text())["mnist"]
    paper = first_run("mnist", "paper.yaml")
    for microbatch, job in measured["microbatches"].items():
        size = None if microbatch == "none" else int(microbatch.replace(",", ""))
        asked = memory.training_mb(dataclasses.replace(paper, microbatch=size))
        taken = job["peak_gib"] * 2**30 / memory.MB
        assert taken < asked < 1.8 * taken, microbatch


def test_memory_grows_with_what_takes_it():
    run = first_run("mnist", "paper.yaml")
    least = memory.training_mb(run)
    parameters = sizes.mlp((28, 28, 1), 10, depth=4, width=1000).parameters
    vectors = dataclasses.replace(run.curvature, max_vectors=run.curvature.max_vectors + 100)
    more = memory.training_mb(dataclasses.replace(run, curvature=vectors)) - least
    assert more == pytest.approx(200 * parameters * 4 / memory.MB, abs=1)
    density = dataclasses.replace(run.density, steps=1000)
    assert memory.training_mb(dataclasses.replace(run, density=density)) > least
    seldom = dataclasses.replace(run.curvature, certify=2)
    started_twice = memory.training_mb(dataclasses.replace(run, curvature=seldom)) - least
    assert started_twice == pytest.approx(12 * parameters * 4 / memory.MB, abs=1)
    assert memory.audit_mb(run) > 1.5 * least


def test_a_job_whose_size_cannot_be_told_asks_for_what_is_written_here():
    run = first_run("mnist")
    assert memory.training_mb(run) == memory.LEAST_MB
    for change in (
        {"dataset": DatasetSettings("my_digits", 10, 10)},
        {"model": ModelSettings("my_model", {"depth": 4, "width": 100})},
        {"model": ModelSettings("mlp", {"width": 100})},
        {"kind": "my_kind"},
    ):
        assert memory.training_mb(dataclasses.replace(run, **change)) == memory.UNKNOWN_MB


def test_every_further_run_at_once_adds_the_same():
    paper = first_run("mnist", "paper.yaml")
    asked = [memory.together_mb(paper, at_once) for at_once in (1, 2, 3, 4)]
    assert asked[0] == memory.training_mb(paper)
    second, *further = [more - less for less, more in itertools.pairwise(asked)]
    assert min(further) > 0 and max(further) - min(further) <= 1
    assert second > max(further)  # a program for several takes their parameters stacked


def test_runs_at_once_whose_size_cannot_be_told_ask_for_as_many_times_as_much():
    own = dataclasses.replace(first_run("mnist"), model=ModelSettings("own", {}))
    assert memory.together_mb(own, 3) == 3 * memory.UNKNOWN_MB


def test_a_rule_takes_what_it_keeps_and_what_its_own_curvature_needs():
    run = first_run("mnist", "paper.yaml")

    def asked(name):
        return memory.training_mb(
            dataclasses.replace(run, update=dataclasses.replace(run.update, name=name))
        )

    parameters = sizes.mlp((28, 28, 1), 10, depth=4, width=1000).parameters
    one = parameters * 4 / memory.MB
    assert asked("unnormalized_sam") == asked("sam")
    assert asked("momentum") - asked("sam") == pytest.approx(one, abs=1)
    assert asked("adam") - asked("sam") > 6 * one
    assert asked("one_of_a_plugin") == asked("adam")
