"""Explicit multistep methods: the order of a method from the slopes already computed, so that a step stays one evaluation.

Each goes along a path of steps, up or down alike; its first step is DDIM's. Three ways to write the same equation:

    barred    xb = x / sqrt(alpha_bar), sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar):   d xb / d sb = eps       (Song et al. 2021, eq. 14)
    log-SNR   lambda = -log sb:   d(x / sigma) / d lambda = e^lambda x_0       (Lu et al. 2022, DPM-Solver++, data prediction)
    angle     sqrt(alpha_bar) = cos phi:   d x / d phi = cos phi eps - sin phi x_0 = v       (Salimans and Ho 2022, appendix D)

DDIM is exact in each where eps, x_0 or both do not change; a method of order k takes them for polynomials of degree k - 1.
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

PREDICTED = 0.5  # measured in docs/solvers.md


def sigma_bar(alpha_bar: float) -> float:
    """The ratio of noise to signal, sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar): the variable of the barred equation, 0 at the image."""
    return sqrt((1 - alpha_bar) / alpha_bar)


def angle(alpha_bar: float) -> float:
    """The angle phi = arccos sqrt(alpha_bar): 0 at the image, towards pi/2 at pure noise."""
    return acos(min(1.0, sqrt(alpha_bar)))


def order2(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """The two-step Adams-Bashforth method for uneven steps, barred: xb' = xb + h ((1 + r/2) eps_i - (r/2) eps_(i-1)), r = h_i / h_(i-1)."""
    slope, h = None, 0.0
    for i, (t, now, then) in enumerate(path):
        before, h_before = slope, h
        _, slope = estimate(model, x, t, now, z_face, clamp)
        h = sigma_bar(then) - sigma_bar(now)
        mean_slope = slope if before is None else slope + (h / h_before / 2) * (slope - before)
        x = sqrt(then) * (x / sqrt(now) + h * mean_slope)
        if clamp and then == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


def order3(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """The three-step Adams-Bashforth method for uneven steps, barred: the parabola through three slopes, integrated; starts by order 2."""
    slopes: deque[tuple[float, Tensor]] = deque(maxlen=3)
    for i, (t, now, then) in enumerate(path):
        s, h = sigma_bar(now), sigma_bar(then) - sigma_bar(now)
        slopes.appendleft((s, estimate(model, x, t, now, z_face, clamp)[1]))
        weights = adams_bashforth([at - s for at, _ in slopes], h)
        x = sqrt(then) * (x / sqrt(now) + sum(w * slope for w, (_, slope) in zip(weights, slopes)))
        if clamp and then == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


def adams_bashforth(at: Sequence[float], h: float) -> list[float]:
    """Weights w with sum_j w_j p(at_j) = integral of p from 0 to h, for every polynomial p of degree < len(at)."""
    powers = torch.arange(len(at), dtype=torch.float64)
    scaled = torch.tensor(at, dtype=torch.float64) / h  # so that the system is well conditioned
    return (h * torch.linalg.solve(scaled[None, :] ** powers[:, None], 1 / (powers + 1))).tolist()


def dpmpp2m(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): x' = (sigma'/sigma) x - alpha' (e^-h - 1) D, D = x_0 + (h_i / 2 h_(i-1)) (x_0 - x_0 before).

    The last step, to the image, where lambda has no end, is of first order.
    """
    before, h_before = None, 0.0
    for i, (t, now, then) in enumerate(path):
        x_0, eps = estimate(model, x, t, now, z_face, clamp)
        if then == 1:
            x = step(x_0, eps, then)
        else:
            h = log(sigma_bar(now)) - log(sigma_bar(then))
            data = x_0 if before is None else x_0 + (h / h_before / 2) * (x_0 - before)
            x = sqrt((1 - then) / (1 - now)) * x - sqrt(then) * (exp(-h) - 1) * data
            before, h_before = x_0, h
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


class Point(NamedTuple):
    """Where a path in the angle has come by: phi, and x = cos phi x_0 + sin phi eps [B, 3, H, W] in its two parts."""

    phi: float
    x_0: Tensor
    eps: Tensor


def beyond_ddim(at: Point, other: Point, to: float) -> Tensor:
    """What second order adds to DDIM's step from `at` to the angle `to`, with x_0 and eps on straight lines through `at` and `other`.

    The integral of cos phi (eps - eps_at) - sin phi (x_0 - x_0_at) over phi; with e = to - phi_at and the slopes d_x, d_eps of the lines
    d_eps (e sin to + cos to - cos phi_at) + d_x (e cos to - sin to + sin phi_at).
    """
    a, turn, e = at.phi, other.phi - at.phi, to - at.phi
    added = (e * sin(to) + cos(to) - cos(a)) / turn * (other.eps - at.eps)
    return added + (e * cos(to) - sin(to) + sin(a)) / turn * (other.x_0 - at.x_0)


def angle2(
    model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None, corrected: bool = False
) -> Tensor:
    """Second order in the angle: d x / d phi = cos phi eps - sin phi x_0, integrated with x_0 and eps going on as straight lines.

    `corrected`: the evaluation where a step arrives gives the lines' other end, with which the step is taken again; x_0 and eps are not
    evaluated anew there (a predictor-corrector in the mode PEC, Hairer et al. 1993, sec. III.1; the same idea as UniC, Zhao et al. 2023).
    The correction makes it second order whatever the predictor, so a step goes only PREDICTED of the way from DDIM's to the lines' end, but
    for the last, which nothing corrects.
    """
    before = None
    for i, (t, now, then) in enumerate(path):
        here = Point(angle(now), *estimate(model, x, t, now, z_face, clamp))
        if corrected and before is not None:
            x = step(before.x_0, before.eps, now) + beyond_ddim(before, here, here.phi)
            here = here._replace(eps=(x - cos(here.phi) * here.x_0) / sin(here.phi))
        x = step(here.x_0, here.eps, then)
        if before is not None:
            share = PREDICTED if corrected and i + 1 < len(path) else 1
            x = x + share * beyond_ddim(here, before, angle(then))
        before = here
        if clamp and then == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


angle2c = partial(angle2, corrected=True)
