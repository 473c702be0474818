"""Explicit multistep methods: higher order by reusing the slopes of previous steps, at one network evaluation per step.

Each follows a path of steps in either direction; its first step is DDIM's. The equation in three forms:

    barred    xb = x / sqrt(alpha_bar), sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar):   d xb / d sb = eps       (Song et al. 2021, eq. 14)
    log-SNR   lambda = -log sb:   d(x / sigma) / d lambda = e^lambda x_0       (Lu et al. 2022, DPM-Solver++, data prediction)
    angle     sqrt(alpha_bar) = cos phi:   d x / d phi = cos phi eps - sin phi x_0 = v       (Salimans and Ho 2022, appendix D)

DDIM is exact where eps, x_0 or both are constant; a method of order k approximates them by polynomials of degree k - 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from math import acos, cos, exp, log, sin, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from dva_core.diffusion.ddim import Callback, NoiseModel, estimate, step
from dva_core.diffusion.schedule import Step

PREDICTOR_SHARE = 0.5  # measured in docs/solvers.md


def sigma_bar(alpha_bar: float) -> float:
    """The ratio of noise to signal, sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar): the variable of the barred equation, 0 at the image."""
    return sqrt((1 - alpha_bar) / alpha_bar)


def angle(alpha_bar: float) -> float:
    """The angle phi = arccos sqrt(alpha_bar): 0 at the image, towards pi/2 at pure noise."""
    return acos(min(1.0, sqrt(alpha_bar)))


def order2(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """The two-step Adams-Bashforth method for uneven steps, barred: xb' = xb + h ((1 + r/2) eps_i - (r/2) eps_(i-1)), r = h_i / h_(i-1)."""
    slope, h = None, 0.0
    for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
        previous, h_previous = slope, h
        _, slope = estimate(model, x, t, alpha_bar, z_face, clamp)
        h = sigma_bar(alpha_bar_next) - sigma_bar(alpha_bar)
        mean_slope = slope if previous is None else slope + (h / h_previous / 2) * (slope - previous)
        x = sqrt(alpha_bar_next) * (x / sqrt(alpha_bar) + h * mean_slope)
        if clamp and alpha_bar_next == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


def order3(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """The three-step Adams-Bashforth method for uneven steps, barred: integrates the parabola through three slopes; starts with order 2."""
    slopes: deque[tuple[float, Tensor]] = deque(maxlen=3)
    for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
        s, h = sigma_bar(alpha_bar), sigma_bar(alpha_bar_next) - sigma_bar(alpha_bar)
        slopes.appendleft((s, estimate(model, x, t, alpha_bar, z_face, clamp)[1]))
        weights = adams_bashforth([at - s for at, _ in slopes], h)
        x = sqrt(alpha_bar_next) * (x / sqrt(alpha_bar) + sum(w * slope for w, (_, slope) in zip(weights, slopes)))
        if clamp and alpha_bar_next == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


def adams_bashforth(at: Sequence[float], h: float) -> list[float]:
    """Weights w with sum_j w_j p(at_j) = integral of p from 0 to h, for every polynomial p of degree < len(at)."""
    powers = torch.arange(len(at), dtype=torch.float64)
    points = torch.tensor(at, dtype=torch.float64) / h  # scaled for a well-conditioned system
    return (h * torch.linalg.solve(points[None, :] ** powers[:, None], 1 / (powers + 1))).tolist()


def dpmpp2m(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): x' = (sigma'/sigma) x - alpha' (e^-h - 1) D, D = x_0 + (h_i / 2 h_(i-1)) (x_0 - x_0 before).

    The last step, to the image, where lambda is infinite, is of first order.
    """
    previous, h_previous = None, 0.0
    for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
        x_0, eps = estimate(model, x, t, alpha_bar, z_face, clamp)
        if alpha_bar_next == 1:
            x = step(x_0, eps, alpha_bar_next)
        else:
            h = log(sigma_bar(alpha_bar)) - log(sigma_bar(alpha_bar_next))
            data = x_0 if previous is None else x_0 + (h / h_previous / 2) * (x_0 - previous)
            x = sqrt((1 - alpha_bar_next) / (1 - alpha_bar)) * x - sqrt(alpha_bar_next) * (exp(-h) - 1) * data
            previous, h_previous = x_0, h
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


class Point(NamedTuple):
    """A point on a path in the angle: phi, and the parts x_0 and eps [B, 3, H, W] of x = cos phi x_0 + sin phi eps."""

    phi: float
    x_0: Tensor
    eps: Tensor


def beyond_ddim(at: Point, other: Point, to: float) -> Tensor:
    """The second-order term of the step from `at` to the angle `to`, beyond DDIM's, for x_0 and eps linear through `at` and `other`.

    The integral of cos phi (eps - eps_at) - sin phi (x_0 - x_0_at) over phi; with e = to - phi_at and the slopes d_x, d_eps of the lines
    d_eps (e sin to + cos to - cos phi_at) + d_x (e cos to - sin to + sin phi_at).
    """
    a, turn, e = at.phi, other.phi - at.phi, to - at.phi
    eps_part = (e * sin(to) + cos(to) - cos(a)) / turn * (other.eps - at.eps)
    return eps_part + (e * cos(to) - sin(to) + sin(a)) / turn * (other.x_0 - at.x_0)


def angle2(
    model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None, correct: bool = False
) -> Tensor:
    """Second order in the angle: d x / d phi = cos phi eps - sin phi x_0, integrated with x_0 and eps extrapolated linearly.

    `correct`: once the network has been evaluated at the end of a step, the step is repeated by interpolation; x_0 and eps are not
    evaluated again there (a predictor-corrector in PEC mode, Hairer et al. 1993, sec. III.1; compare UniC, Zhao et al. 2023). The
    corrector gives second order whatever the predictor, so the predictor adds only PREDICTOR_SHARE of the second-order term, except in
    the last step, which has no corrector.
    """
    previous = None
    for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
        point = Point(angle(alpha_bar), *estimate(model, x, t, alpha_bar, z_face, clamp))
        if correct and previous is not None:
            x = step(previous.x_0, previous.eps, alpha_bar) + beyond_ddim(previous, point, point.phi)
            point = point._replace(eps=(x - cos(point.phi) * point.x_0) / sin(point.phi))
        x = step(point.x_0, point.eps, alpha_bar_next)
        if previous is not None:
            share = PREDICTOR_SHARE if correct and i + 1 < len(path) else 1
            x = x + share * beyond_ddim(point, previous, angle(alpha_bar_next))
        previous = point
        if clamp and alpha_bar_next == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


angle2c = partial(angle2, correct=True)
