"""How often the 95 % intervals hold the true value, and how often equal models are told apart.

Networks are simulated by a probit model: one of skill m + seed is right on an image of difficulty
d if m + seed + d + noise > 0. The seeds' and the images' standard deviations are those of the
grid, the noise has 1. Two models that are compared meet the same difficulties, and each finds some
images harder for reasons of its own, the same for all its seeds (standard deviation 0.5). One seed
alone is only simulated with seeds that do not differ: its interval does not cover them.

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py

prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fersearch.stats import accuracy_interval, paired_gain_of_correct

IMAGES = (500, 1000, 2000)
GROUPS = [(1, 0.0), *((seeds, spread) for seeds in (3, 5) for spread in (0.0, 0.1, 0.3))]
SKILL = 1.5
ADVANTAGE = 0.15
OWN_DIFFICULTY = 0.5


def simulated(
    generator: np.random.Generator,
    *,
    skill: float,
    difficulty: NDArray[np.float64],
    seeds: int,
    seed_sd: float,
) -> NDArray[np.bool_]:
    """Return where the networks of one model are right, (seeds, images)."""
    noise = generator.standard_normal((seeds, difficulty.size))
    return skill + seed_sd * generator.standard_normal((seeds, 1)) + difficulty + noise > 0


def accuracy_coverage(
    repetitions: int, resamples: int, *, seeds: int, images: int, seed_sd: float, image_sd: float
) -> float:
    """Return how often the interval of the accuracy holds the true mean."""
    generator = np.random.default_rng(1)
    truth = ndtr(SKILL / math.sqrt(1 + seed_sd**2 + image_sd**2))
    hits = 0
    for number in range(repetitions):
        correct = simulated(
            generator,
            skill=SKILL,
            difficulty=image_sd * generator.standard_normal(images),
            seeds=seeds,
            seed_sd=seed_sd,
        )
        interval = accuracy_interval(correct, resamples=resamples, random_seed=number)
        hits += interval.low <= truth <= interval.high
    return hits / repetitions


def gain_rates(
    repetitions: int,
    resamples: int,
    *,
    seeds: int,
    images: int,
    seed_sd: float,
    image_sd: float,
    advantage: float,
) -> tuple[float, float]:
    """Return how often the interval of the gain holds the true one, and how often p < 0.05."""
    generator = np.random.default_rng(2)
    scale = math.sqrt(1 + seed_sd**2 + image_sd**2 + OWN_DIFFICULTY**2)
    truth = ndtr((SKILL + advantage) / scale) - ndtr(SKILL / scale)
    hits = alarms = 0
    for number in range(repetitions):
        shared = image_sd * generator.standard_normal(images)
        first, second = (
            simulated(
                generator,
                skill=skill,
                difficulty=shared + OWN_DIFFICULTY * generator.standard_normal(images),
                seeds=seeds,
                seed_sd=seed_sd,
            )
            for skill in (SKILL + advantage, SKILL)
        )
        gain = paired_gain_of_correct(first, second, resamples=resamples, random_seed=number)
        hits += gain.ci95[0] <= truth <= gain.ci95[1]
        alarms += gain.p_value < 0.05
    return hits / repetitions, alarms / repetitions


def accuracy_rows(repetitions: int, resamples: int) -> Iterator[list[str]]:
    """Yield the rows of the accuracy's table."""
    for seeds, seed_sd in GROUPS:
        for image_sd in (1.0, 2.0):
            covered = [
                accuracy_coverage(
                    repetitions,
                    resamples,
                    seeds=seeds,
                    images=images,
                    seed_sd=seed_sd,
                    image_sd=image_sd,
                )
                for images in IMAGES
            ]
            yield [str(seeds), f"{seed_sd:g}", f"{image_sd:g}", *map(shown, covered)]


def gain_rows(repetitions: int, resamples: int) -> Iterator[list[str]]:
    """Yield the rows of the gain's table: equal models at every size, then unequal ones."""
    cells = [*((images, 0.0) for images in IMAGES), (1000, ADVANTAGE)]
    for seeds, seed_sd in GROUPS:
        rates = [
            gain_rates(
                repetitions,
                resamples,
                seeds=seeds,
                images=images,
                seed_sd=seed_sd,
                image_sd=1.5,
                advantage=advantage,
            )
            for images, advantage in cells
        ]
        alarms = [shown(told_apart) for _, told_apart in rates[:-1]]
        yield [str(seeds), f"{seed_sd:g}", *alarms, shown(rates[-1][0])]


def shown(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.1f} %"


def print_table(header: list[str], rows: Iterator[list[str]]) -> None:
    """Print a Markdown table, row by row as it is made."""
    print(f"| {' | '.join(header)} |\n|{' ---: |' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def main() -> None:
    """Simulate and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=200)
    given = parser.parse_args()
    start = time.perf_counter()
    spread = ["seeds", "sd of seeds", "sd of images"]
    print_table(
        [*spread, *(f"covered, N = {images}" for images in IMAGES)],
        accuracy_rows(given.repetitions, given.resamples),
    )
    print_table(
        [
            *spread[:2],
            *(f"p < 0.05, N = {images}" for images in IMAGES),
            "covered, N = 1000",
        ],
        gain_rows(given.repetitions, given.resamples),
    )
    print(f"{given.repetitions} repetitions a cell, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
