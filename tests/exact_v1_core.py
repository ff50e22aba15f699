"""What every family of exact-v1 shares, in Python integers, as a document: doc/exact-v1.md line by line, the sections in brackets.

It knows nothing of slices, BLAS, threads or SIMD. Sums are Python integers, RN and fma go through fractions.Fraction, and a Python float
is an IEEE double, so + - * / and sqrt are the trees of the specification. exact_v1.py is the command; exact_v1_FAMILY.py the algorithms.
"""
import math
import struct
from fractions import Fraction

NAN, INF = float("nan"), float("inf")
LOWEST = -900  # the lowest grid exponent
EPS = 1e-12  # norms are clamped here before they divide


# ---- rounding and IEEE operations that Python's floats raise on ------------------------------------------------------------------------------

def finite(x):
    return not (math.isnan(x) or math.isinf(x))


def rn(value):
    """RN: a Fraction or an integer as the nearest double, ties to even; too large is an infinity."""
    try:
        return float(value)
    except OverflowError:
        return INF if value > 0 else -INF


def rne(value):
    """The nearest integer of a Fraction, ties to even."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1):
        return floor + 1
    return floor


def pow2(k):
    return Fraction(2) ** k


def div(a, b):
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(INF, a) * math.copysign(1.0, b)
    return a / b


def sqrt(a):
    return NAN if a < 0 else math.sqrt(a)


def fma(a, b, c):
    """RN(a*b + c). Zero and non-finite factors need no rounding, so ordinary operations give them (and the sign of a zero)."""
    if not (finite(a) and finite(b)) or a == 0 or b == 0:
        return a * b + c
    if not finite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    return rn(exact) if exact != 0 else 0.0


def float32(x):
    """The nearest float32, ties to even, as a double."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(INF, x)


def canonical(x):
    """How results are stored: one NaN, no negative zero."""
    return NAN if math.isnan(x) else x + 0.0


# ---- 1. sums -------------------------------------------------------------------------------------------------------------------------------

def expo(values):
    """[1.1] Grid exponent: max(frexp exponent of the largest finite magnitude, -900)."""
    largest = max((abs(x) for x in values if finite(x)), default=0.0)
    return LOWEST if largest == 0 else max(math.frexp(largest)[1], LOWEST)


def V(x, e):
    """[1.2] rne(x * 2^(62-e)); non-finite x counts as 0."""
    if not finite(x):
        return 0
    v = rne(Fraction(x) * pow2(62 - e))
    assert abs(v) <= 2**62
    return v


def scale(v, k):
    """[1.2] v * 2^k, rounded once if subnormal, infinite if too large."""
    return rn(Fraction(v) * pow2(k))


def mark(terms):
    """[1.4] The value of a sum with non-finite terms: equal ones stay, different ones make NaN. None: all terms are finite."""
    marks = [t for t in terms if not finite(t)]
    if not marks:
        return None
    return marks[0] if all(t == marks[0] for t in marks) else NAN


def product_sum(a, ea, b, eb, shift, factors=None):
    """[1.2] scale(RN(sum_k V(a_k, ea_k) * V(b_k, eb_k)), shift). ea and eb are one exponent each, or one for each term.
    factors: pairs whose products mark the sum, where a_k and b_k are not the factors of the formula itself but a rescaled form of them."""
    marked = mark([x * y for x, y in factors or zip(a, b) if not (finite(x) and finite(y))])
    if marked is not None:
        return marked
    ea = ea if isinstance(ea, list) else [ea] * len(a)
    eb = eb if isinstance(eb, list) else [eb] * len(b)
    total = sum(V(x, ex) * V(y, ey) for x, ex, y, ey in zip(a, ea, b, eb))
    return scale(rn(total), shift)


def scalar_sum(terms, e):
    """[1.3] Two integers: 36 bits above and 38 bits below, relative to 2^e."""
    marked = mark(terms)
    if marked is not None:
        return marked
    a = b = 0
    for t in terms:
        u = Fraction(t) * pow2(36 - e)
        assert abs(u) <= 2**36
        h = rne(u)
        a += h
        b += rne((u - h) * 2**38)
    return scale(rn(a * 2**38 + b), e - 74)


# ---- 2. elementwise functions --------------------------------------------------------------------------------------------------------------

MAGIC = 1.5 * 2.0**52
LOG2E = float.fromhex("0x1.71547652b82fep+0")
LN2HI = float.fromhex("0x1.62e42feep-1")
LN2LO = float.fromhex("0x1.a39ef35793c76p-33")
TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
P1, P2, P3 = (float.fromhex(h) for h in ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))


def horner(x, *fractions):
    """Horner by fma; every coefficient is a fraction rounded to double."""
    q = rn(fractions[0])
    for coefficient in fractions[1:]:
        q = fma(q, x, rn(coefficient))
    return q


def factorial_terms(first, last, step=-1, signs=False):
    """1/first!, ..., 1/last!; with signs, 1/j! has the sign of the Taylor series of sine or cosine."""
    return [Fraction(-1 if signs and (j // 2) % 2 else 1, math.factorial(j)) for j in range(first, last + step, step)]


def px_exp(x):
    if math.isnan(x):
        return x
    if x < -708.0:
        return 0.0
    if x > 709.78:
        return INF
    t = x * LOG2E + MAGIC
    k = t - MAGIC
    r = fma(-k, LN2HI, x)
    c = k * LN2LO
    rr = r - c
    lo = (r - rr) - c
    q = horner(rr, *factorial_terms(13, 2))
    e = 1.0 + (rr + fma(rr * rr, q, lo))
    return scale(e, int(k))


def px_log(x):
    if math.isnan(x) or x < 0:
        return NAN
    if x == 0:
        return -INF
    if x == INF:
        return INF
    m, k = math.frexp(x)  # m in [1/2, 1)
    if 2 * Fraction(m) ** 2 < 1:  # m below sqrt(1/2)
        m, k = 2 * m, k - 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    R = z * horner(z, *[Fraction(2, j) for j in range(25, 1, -2)])
    h = (0.5 * f) * f
    return k * LN2HI - ((h - (s * (h + R) + k * LN2LO)) - f)


def px_sincos(x):
    n = float(round(x * TWO_OVER_PI))  # round: ties to even
    r = fma(-n, P1, x)
    r = fma(-n, P2, r)
    r = fma(-n, P3, r)
    z = r * r
    s = fma(r * z, horner(z, *factorial_terms(17, 3, -2, True)), r)
    w = 0.5 * z
    one = 1.0 - w
    c = one + fma(z * z, horner(z, *factorial_terms(18, 4, -2, True)), (1.0 - one) - w)
    return [(s, c), (c, -s), (-s, -c), (-c, s)][int(n) % 4]


# ---- random numbers: Philox4x32-10 and the keys of classes -----------------------------------------------------------------------------------

def philox4x32(counter, key):
    """Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: ten rounds."""
    low = 0xFFFFFFFF
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & low, (left >> 32) ^ c[3] ^ k[1], left & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def class_key(seed, c, step):
    """u in [0,1) on the grid 2^-53, of global class c in a step."""
    low = 0xFFFFFFFF
    x = philox4x32([c & low, (c >> 32) & low, step & low, 1], [seed & low, (seed >> 32) & low])
    return ((x[0] << 32 | x[1]) >> 11) * 2.0**-53

# ---- ranks, rows, parameters, files -----------------------------------------------------------------------------------------------------------------

def shard(total, ranks, rank):
    """Contiguous blocks; the first total mod ranks of them hold one more."""
    size, extra = divmod(total, ranks)
    start = size * rank + min(rank, extra)
    return range(start, start + size + (1 if rank < extra else 0))

def norm(row):
    """[3.1] Grid exponent of a row and its norm, not clamped."""
    e = expo(row)
    if any(math.isnan(x) for x in row):
        return e, NAN
    if any(math.isinf(x) for x in row):
        return e, INF
    return e, math.sqrt(scalar_sum([x * x for x in row], max(2 * e, LOWEST)))


def clamped(n):
    return EPS if n < EPS else n  # NaN stays


def with_defaults(param, defaults):
    """The parameters of a case over defaults; a number takes the type of its default. None stands for a default that depends on the case."""
    merged = dict(defaults, **param)
    for name, default in defaults.items():
        if isinstance(default, float) and isinstance(merged[name], int):
            merged[name] = float(merged[name])
        elif type(default) is int and isinstance(merged[name], float):
            merged[name] = int(merged[name])
    return merged


class Moved:
    """A result that was moved, not computed: the sign of its zeros is compared, too."""

    def __init__(self, value):
        self.value = value
