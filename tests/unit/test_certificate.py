"""What a Lanczos sequence may have missed, against sequences whose parts are known."""

import numpy as np
import pytest

from samedge.curvature.krylov import certificate

SIZE = 40


def lanczos(eigenvalues, start, steps):
    """Return the diagonal and couplings of a sequence on a diagonal matrix, in float64."""
    vectors = [start / np.linalg.norm(start)]
    diagonal, couplings = [], []
    for _ in range(steps):
        rest = eigenvalues * vectors[-1]
        diagonal.append(vectors[-1] @ rest)
        for _ in range(2):
            rest = rest - np.array(vectors).T @ (np.array(vectors) @ rest)
        couplings.append(np.linalg.norm(rest))
        vectors.append(rest / couplings[-1])
    return np.array(diagonal), np.array(couplings)


def part_allowed(chance):
    """Return the part of the vector at which the chance is reached."""
    return chance / np.sqrt(2 * SIZE / np.pi)


@pytest.mark.parametrize("largest", [1.0, -1.0])
@pytest.mark.parametrize("steps", [1, 4, 8, 16])
def test_no_eigenvector_has_a_larger_part_than_allowed(largest, steps):
    eigenvalues = np.concatenate([[largest], np.linspace(-0.4, 0.6, SIZE - 1)])
    for seed in range(50):
        start = np.random.default_rng(seed).normal(size=SIZE)
        start[0] *= 1e-3  # hardly in the sequence
        diagonal, couplings = lanczos(eigenvalues, start, steps)
        chance = certificate.miss_probability(diagonal, couplings, 1.0, SIZE)
        part = abs(start[0]) / np.linalg.norm(start)
        assert chance == 1 or part <= part_allowed(chance) * (1 + 1e-9)


def test_the_chance_falls_to_what_there_is():
    eigenvalues = np.concatenate([[1.0], np.linspace(-0.4, 0.6, SIZE - 1)])
    start = np.random.default_rng(0).normal(size=SIZE)
    start[0] = 0.0
    chances = [
        certificate.miss_probability(*lanczos(eigenvalues, start, steps), 1.0, SIZE)
        for steps in range(1, 15)
    ]
    assert chances == sorted(chances, reverse=True)
    assert chances[-1] < 1e-4


def test_a_random_vector_is_as_seldom_that_small_as_is_said():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, SIZE))
    parts = np.abs(vectors[:, 0]) / np.linalg.norm(vectors, axis=1)
    for chance in (0.01, 0.1, 0.3):
        share = np.mean(parts <= part_allowed(chance))
        assert 0.8 * chance < share < chance + 3 * np.sqrt(chance / len(parts))


def test_a_sequence_that_has_ended_leaves_nothing():
    assert certificate.miss_probability(np.array([0.0]), np.array([0.0]), 1.0, SIZE) == 0


def test_several_sequences():
    assert certificate.combined_miss_probability([]) == 1
    assert certificate.combined_miss_probability([1.0, 1.0]) == 1
    assert certificate.combined_miss_probability([1.0, 0.2]) == pytest.approx(0.2)
    assert certificate.combined_miss_probability([0.2, 0.0]) == 0
    draws = np.random.default_rng(0).uniform(size=(200_000, 3))
    chances = [0.2, 0.3, 0.4]
    share = np.mean(np.prod(draws, axis=1) <= np.prod(chances))
    assert certificate.combined_miss_probability(chances) == pytest.approx(share, abs=0.005)
