"""From which n each rule's guarantee holds, and the κ that it promises there: the papers' formulas, written once more."""

from math import sqrt

import pytest

from flwr_byzantine import rules
from flwr_byzantine.rules.coordinatewise import NearestMedian

MIN_N = {  # a rule for f, and the smallest n by its paper
    "krum": (lambda f: rules.Krum(f=f), lambda f: 2 * f + 3),
    "krum, one neighbour more": (lambda f: rules.Krum(f=f, neighbors="n-f-1"), lambda f: 2 * f + 1),
    "multi-krum": (lambda f: rules.MultiKrum(f=f), lambda f: 2 * f + 3),
    "multi-krum, one neighbour more": (lambda f: rules.MultiKrum(f=f, neighbors="n-f-1"), lambda f: 2 * f + 1),
    "multi-krum, m = 9": (lambda f: rules.MultiKrum(f=f, m=9), lambda f: max(2 * f + 3, f + 9)),
    "iterated": (lambda f: rules.MultiKrum(f=f, iterated=True), lambda f: 2 * f + 4),
    "iterated, m = 4": (lambda f: rules.MultiKrum(f=f, m=4, iterated=True), lambda f: 2 * f + 7),
    "bulyan": (lambda f: rules.Bulyan(f=f), lambda f: 4 * f + 3),
    "bulyan's selection": (lambda f: rules.Bulyan(f=f).stages()[0], lambda f: 4 * f + 3),
    "monna": (lambda f: rules.MoNNA(f=f), lambda f: 2 * f + 1),
    "monna, trusted 6": (lambda f: rules.MoNNA(f=f, trusted=6), lambda f: max(7, 2 * f + 1)),
    "monna, none trusted": (lambda f: rules.MoNNA(f=f, trusted=None), lambda f: 2 * f + 1),
    "nearest median": (lambda f: NearestMedian(drop=f), lambda f: f + 1),
    "gas(krum)": (lambda f: rules.GAS(f=f), lambda f: 2 * f + 3),
    "gas(median)": (lambda f: rules.GAS(f=f, base=rules.Median()), lambda f: 2 * f + 1),
    "ctma(bulyan)": (lambda f: rules.CTMA(f=f, base=rules.Bulyan(f=f)), lambda f: 4 * f + 3),
    "rlr, θ = 4": (lambda f: rules.RLR(f=f, theta=4), lambda f: max(2 * f + 1, f + 4)),
    "foundation": (lambda f: rules.FoundationFL(), lambda f: 1),
    "mean": (lambda f: rules.Mean(), lambda f: 1),
    "bucketing + krum": (lambda f: rules.chain(rules.Bucketing(s=2), rules.Krum(f=f)), lambda f: 2 * (2 * f + 3) - 1),
    "bucketing + bucketing + median": (
        lambda f: rules.chain(rules.Bucketing(s=2), rules.Bucketing(s=3), rules.Median(f=f)),
        lambda f: 6 * 2 * f + 1,
    ),
    "nnm + krum": (lambda f: rules.chain(rules.NNM(f=f), rules.Krum(f=f)), lambda f: 2 * f + 3),
    "nnm + bulyan": (lambda f: rules.chain(rules.NNM(f=f), rules.Bulyan(f=f)), lambda f: 4 * f + 3),
}


def median(n, f):
    h, low = n - f, (n if n % 2 else n - 1) // 2
    return low / (h - low)


def geometric(n, f):
    return (n - f + f) / (n - f - f)


def trimmed(n, f):
    return f / (n - 2 * f)


def meamed(n, f):
    """The window is off by 2/h times what f honest values are from the median, which b honest ones and more are beyond."""
    h, beyond = n - f, n - f - (n - 1) // 2
    return 4 * f / h + 4 * f**2 / (h * beyond)


def phocas(n, f):
    return 4 * trimmed(n, f)


def window(n, f, honest):
    """h Σ c² - 1 for the mean of n - 2f values nearest the median, by its weights c on the n - f honest ones in order."""
    h, b, low = n - f, n - 2 * f, (n - 1) // 2
    q = min(f, low - f)
    c = [-q / (q + f) if q + f else 0] * (q + f) + [1] * (h - q - f)
    c = [weight + (2 * q / (h - low) if rank >= low else 0) for rank, weight in enumerate(c)]
    if b == 2 and f:
        c = [0] * (h - 1) + [2]  # both values kept may be the upper one of the middle
    assert sum(c) == pytest.approx(b)
    return honest * sum(weight**2 for weight in c) / b**2 - 1


def bulyan(n, f):
    return window(n - 2 * f, f, n - f)


def caf(n, f):
    r = f / (n - 2 * f)
    return r * (1 + 6 * (1 + r))


def monna(n, f):
    h, beyond = n - f, n // 2
    return 4 * f / h * (1 + (sqrt(2 * h / (h - beyond)) + sqrt(beyond / (h - beyond))) ** 2)


def iterated(kept):
    def kappa(n, f):
        m = kept or n - 2 * f - 3
        return sum((1 + rules.Krum(f=f).kappa(left)) * (n - f) / (left - f) - 1 for left in range(n, n - m, -1)) / m

    return kappa


def krum(n, f):
    h, t = n - f, n - 2 * f - 1
    value = (sqrt(2 * h * (h - 2) / ((h - 1) * t)) + sqrt((h - t) / t)) ** 2
    return value if f else min(value, n - 1)  # no row is farther than √(n - 1) σ from the mean


def wider_krum(n, f):
    return (sqrt(2 * (n - f)) + sqrt(f)) ** 2 / (n - 2 * f)


def multi_krum(kept, members=lambda n, f: n - 2 * f - 1, single=krum):
    """Of m rows b are Byzantine, s is the mean honest score: the worst b; or the bound that all rows have in common."""

    def kappa(n, f):
        h, m, t = n - f, kept or n - f, members(n, f)
        s = 2 * h * (t + f - 1) / (h - 1) if h > 1 else 0
        roots = [
            sqrt((m - b) * (h - (m - b))) / m + b / m * (sqrt(s * m / b / t) + sqrt((h - t) / t)) if b else sqrt(m * (h - m)) / m
            for b in range(min(m, f) + 1)
        ]
        return min(single(n, f), max(roots) ** 2)

    return kappa


def mixed(last):
    return lambda n, f: 4 * f / (n - f) * (1 + last(n, f))


def adaptively_clipped(last):
    def kappa(n, f):
        clipped = int(2 * f * (n - f) / n + 1e-9)
        return last(n, f) + clipped / (n - f - clipped)

    return kappa


def unknown(n, f):
    return None


KAPPA = {
    "mean": (lambda f: rules.Mean(), lambda n, f: 0.0),
    "krum": (lambda f: rules.Krum(f=f), krum),
    "krum, one neighbour more": (lambda f: rules.Krum(f=f, neighbors="n-f-1"), multi_krum(1, lambda n, f: n - 2 * f, wider_krum)),
    "multi-krum": (lambda f: rules.MultiKrum(f=f), multi_krum(None)),
    "multi-krum, m = 3": (lambda f: rules.MultiKrum(f=f, m=3), multi_krum(3)),
    "multi-krum, one neighbour more": (
        lambda f: rules.MultiKrum(f=f, neighbors="n-f-1"),
        multi_krum(None, lambda n, f: n - 2 * f, wider_krum),
    ),
    "iterated": (lambda f: rules.MultiKrum(f=f, iterated=True), iterated(None)),
    "iterated, m = 3": (lambda f: rules.MultiKrum(f=f, m=3, iterated=True), iterated(3)),
    "bulyan": (lambda f: rules.Bulyan(f=f), bulyan),
    "bulyan, scored once": (lambda f: rules.Bulyan(f=f, iterated=False), bulyan),
    "median": (lambda f: rules.Median(f=f), median),
    "geometric median": (lambda f: rules.GeometricMedian(f=f), geometric),
    "geometric median from the mean": (lambda f: rules.GeometricMedian(f=f, start="mean", nu=1e-4, tol=1e-8), geometric),
    "geometric median, absolute": (lambda f: rules.GeometricMedian(f=f, smoothing="absolute"), unknown),
    "geometric median, coarse": (lambda f: rules.GeometricMedian(f=f, nu=2e-4), unknown),
    "geometric median, loose": (lambda f: rules.GeometricMedian(f=f, tol=2e-10), unknown),
    "geometric median, cut short": (lambda f: rules.GeometricMedian(f=f, max_iter=99), unknown),
    "trimmed mean": (lambda f: rules.TrimmedMean(f=f), trimmed),
    "meamed": (lambda f: rules.MeaMed(f=f), meamed),
    "meamed of n - 2f": (lambda f: rules.MeaMed(f=f, keep="n-2f"), lambda n, f: window(n, f, n - f)),
    "phocas": (lambda f: rules.Phocas(f=f), phocas),
    "mda": (lambda f: rules.MDA(f=f), lambda n, f: (sqrt(f / (n - 2 * f)) + f * sqrt(2 / (n - f))) ** 2),
    "smea": (lambda f: rules.SMEA(f=f), lambda n, f: 4 * f / (n - 2 * f)),
    "caf": (lambda f: rules.CAF(f=f), caf),
    "monna": (lambda f: rules.MoNNA(f=f), unknown),
    "monna, none trusted": (lambda f: rules.MoNNA(f=f, trusted=None), monna),
    "cge": (lambda f: rules.CGE(f=f), unknown),
    "nnm + median": (lambda f: rules.chain(rules.NNM(f=f), rules.Median(f=f)), mixed(median)),
    "nnm + krum": (lambda f: rules.chain(rules.NNM(f=f), rules.Krum(f=f)), mixed(krum)),
    "arc + trimmed mean": (lambda f: rules.chain(rules.ARC(f=f), rules.TrimmedMean(f=f)), adaptively_clipped(trimmed)),
    "arc + nnm + median": (lambda f: rules.chain(rules.ARC(f=f), rules.NNM(f=f), rules.Median(f=f)), adaptively_clipped(mixed(median))),
    "nnm + arc + median": (lambda f: rules.chain(rules.NNM(f=f), rules.ARC(f=f), rules.Median(f=f)), mixed(adaptively_clipped(median))),
    "aksel": (lambda f: rules.Aksel(f=f), mixed(median)),
    "aksel, the nearer half": (lambda f: rules.Aksel(f=f, keep="mid"), lambda n, f: (sqrt(median(n, f)) + sqrt(1 + median(n, f))) ** 2),
    "ctma(median)": (lambda f: rules.CTMA(f=f), mixed(median)),
    "ctma(krum)": (lambda f: rules.CTMA(f=f, base=rules.Krum(f=f)), mixed(krum)),
    "ctma(nnm + median)": (lambda f: rules.CTMA(f=f, base=rules.chain(rules.NNM(f=f), rules.Median())), mixed(mixed(median))),
    "nnm + ctma(median)": (lambda f: rules.chain(rules.NNM(f=f), rules.CTMA(f=f)), mixed(mixed(median))),
    "slsgd, α = 1": (lambda f: rules.SLSGD(f=f, alpha=1.0), trimmed),
    "slsgd": (lambda f: rules.SLSGD(f=f), unknown),
    "gas(krum)": (lambda f: rules.GAS(f=f), unknown),
    "autogm": (lambda f: rules.AutoGM(f=f), unknown),
    "bucketing + median": (lambda f: rules.chain(rules.Bucketing(s=2), rules.Median(f=f)), unknown),
    "clipping + median": (lambda f: rules.chain(rules.Clipping(), rules.Median(f=f)), unknown),
    "nnm + cge": (lambda f: rules.chain(rules.NNM(f=f), rules.CGE(f=f)), unknown),
}
