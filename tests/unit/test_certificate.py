"""What a Lanczos sequence may have missed, against sequences whose parts are known."""

import numpy as np
import pytest

from samedge.curvature.krylov import certificate

SIZE = 40


def lanczos(eigenvalues, start, steps):
    """Return the projection (steps, steps) on a sequence, in float64, its rest, and its norm."""
    vectors = [start / np.linalg.norm(start)]
    diagonal, couplings = [], []
    for _ in range(steps):
        rest = eigenvalues * vectors[-1]
        diagonal.append(vectors[-1] @ rest)
        for _ in range(2):
            rest = rest - np.array(vectors).T @ (np.array(vectors) @ rest)
        couplings.append(np.linalg.norm(rest))
        vectors.append(rest / couplings[-1])
    projection = np.diag(diagonal) + np.diag(couplings[:-1], 1) + np.diag(couplings[:-1], -1)
    return projection, vectors[-1], couplings[-1]


def sequence_of(eigenvalues, start, pieces):
    """Return a sequence in pieces of so many products, each of which knows none before it."""
    sequence, vector = certificate.Sequence(SIZE), start
    for place, steps in enumerate(pieces):
        if place:
            sequence.turn()
        projection, vector, length = lanczos(eigenvalues, vector, steps)
        sequence.take(projection, length)
    return sequence


def part_allowed(chance):
    """Return the part of the vector at which the chance is reached."""
    return chance / np.sqrt(2 * SIZE / np.pi)


@pytest.mark.parametrize("largest", [1.0, -1.0])
@pytest.mark.parametrize("pieces", [[1], [4], [8], [16], [3, 3], [4, 4, 4], [1, 1, 1, 1]])
def test_no_eigenvector_has_a_larger_part_than_allowed(largest, pieces):
    eigenvalues = np.concatenate([[largest], np.linspace(-0.4, 0.6, SIZE - 1)])
    for seed in range(50):
        start = np.random.default_rng(seed).normal(size=SIZE)
        start[0] *= 1e-3  # hardly in the sequence
        chance = sequence_of(eigenvalues, start, pieces).miss_probability(1.0)
        part = abs(start[0]) / np.linalg.norm(start)
        assert chance == 1 or part <= part_allowed(chance) * (1 + 1e-9)


def test_the_chance_falls_to_what_there_is():
    eigenvalues = np.concatenate([[1.0], np.linspace(-0.4, 0.6, SIZE - 1)])
    start = np.random.default_rng(0).normal(size=SIZE)
    start[0] = 0.0
    chances = [
        sequence_of(eigenvalues, start, [steps]).miss_probability(1.0) for steps in range(1, 15)
    ]
    assert chances == sorted(chances, reverse=True)
    assert chances[-1] < 1e-4


def test_pieces_of_any_length_come_to_little_in_the_end():
    eigenvalues = np.concatenate([[1.0], np.linspace(-0.4, 0.6, SIZE - 1)])
    start = np.random.default_rng(0).normal(size=SIZE)
    start[0] = 0.0
    for length, most in ((1, 40), (3, 12), (8, 3)):
        pieces = [length] * most
        chances = [
            sequence_of(eigenvalues, start, pieces[:count]).miss_probability(1.0)
            for count in range(1, most + 1)
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
    sequence = certificate.Sequence(SIZE)
    sequence.take(np.array([[0.0]]), 0.0)
    assert sequence.miss_probability(1.0) == 0


def test_nothing_is_known_before_the_first_product_and_between_ritz_values():
    sequence = certificate.Sequence(SIZE)
    assert sequence.miss_probability(1.0) == 1
    sequence.take(np.diag([-1.0, 2.0]) + 0.1 * np.eye(2)[::-1], 0.1)
    np.testing.assert_array_equal(sequence.chances([0.0, 1.9, -0.9]), 1)


def test_polynomials_are_those_of_the_recurrence_at_any_scale():
    rng = np.random.default_rng(0)
    diagonal, couplings = rng.normal(size=6), rng.uniform(0.5, 2, size=6)
    values = np.array([-7.0, 5.0, 9.0])
    polynomials = [np.ones(3), (values - diagonal[0]) / couplings[0]]
    for a, b, c in zip(diagonal[1:], couplings, couplings[1:], strict=False):
        polynomials.append(((values - a) * polynomials[-1] - b * polynomials[-2]) / c)
    squares = np.square(polynomials)
    for scale in (1.0, 1e-300, 1e300):
        total, last = certificate.log_squares(scale * diagonal, scale * couplings, scale * values)
        np.testing.assert_allclose(total, np.log(squares.sum(axis=0)))
        np.testing.assert_allclose(last, np.log(squares[-1]))


def test_the_nearest_accepted_distance_is_found():
    def falling(distances):
        return np.exp(-10 * distances)

    found = certificate.nearest(falling, 4.0, 1e-3)
    assert found == pytest.approx(np.log(1e3) / 10, rel=1e-4)
    assert falling(found) <= 1e-3
    assert np.isnan(certificate.nearest(falling, 0.1, 1e-3))
