"""How a port computes: the type its matrix products and real inputs are read in, how they are rounded to it, and the order of its sums."""
import numpy as np

MANTISSA_DROPPED = {"tf32": 13, "bf16": 16}


def rounded(x, dtype, truncate):
    """x rounded to dtype, kept as float32: to nearest, ties to even, or towards zero. Finite x."""
    x = np.ascontiguousarray(x, np.float32)
    if dtype == "f32":
        return x
    if dtype == "f16":
        assert not truncate, "no truncation to f16"
        return x.astype(np.float16).astype(np.float32)
    drop = np.uint32(MANTISSA_DROPPED[dtype])
    bits = x.view(np.uint32)
    if not truncate:
        bits = bits + ((bits >> drop) & np.uint32(1)) + ((np.uint32(1) << (drop - np.uint32(1))) - np.uint32(1))
    return (bits >> drop << drop).view(np.float32)


class Precision:
    """sums: "pairwise" (NumPy and BLAS), "sequential", "reversed" or "float64" (everything inside in double). stored: products are stored in the type.
    finer: float32 where the type would do."""

    def __init__(self, dtype="f32", truncate=False, stored=False, sums="pairwise", finer=False):
        self.dtype = "f32" if finer else dtype
        self.truncate, self.stored, self.sums = truncate, stored, sums
        self.real = np.float64 if sums == "float64" else np.float32

    def array(self, x):
        """A real tensor as the port holds it."""
        return np.asarray(x).astype(self.real)

    def operand(self, x):
        """x as it enters a matrix product; in families without products: a real input."""
        return rounded(x, self.dtype, self.truncate).astype(self.real)

    def matmul(self, a, b):
        """(n,k) times (k,m)."""
        a, b = self.operand(a), self.operand(b)
        if self.sums in ("sequential", "reversed"):
            order = range(a.shape[1])[::-1 if self.sums == "reversed" else 1]
            c = np.zeros((a.shape[0], b.shape[1]), self.real)
            for k in order:
                c += a[:, k, None] * b[k]
        else:
            c = a @ b
        return self.operand(c) if self.stored else c

    def dot_rows(self, a, b):
        """<a_i, b_i> of every row: a matrix product of one element."""
        c = self.sum(self.operand(a) * self.operand(b), 1)
        return self.operand(c) if self.stored else c

    def sum(self, x, axis=None):
        """A sum in the port's order."""
        x = np.asarray(x, self.real)
        if axis is None:
            x, axis = x.reshape(-1), 0
        if x.shape[axis] == 0 or self.sums in ("pairwise", "float64"):
            return x.sum(axis)
        x = np.flip(x, axis) if self.sums == "reversed" else x
        return np.cumsum(x, axis, dtype=self.real).take(-1, axis)

    def over_ranks(self, parts):
        """An all-reduced sum: rank after rank."""
        total = np.zeros_like(parts[0])
        for part in parts[::-1] if self.sums == "reversed" else parts:
            total = total + part
        return total


def unit(q, x):
    """Rows over their clamped lengths, and the lengths (semantics.md 1.1)."""
    n = np.sqrt(q.sum(x * x, 1))[:, None]
    return x / np.maximum(n, q.real(1e-12)), n


def unit_backward(q, g, direction, n, projects=True):
    """From the gradient of a direction to that of the row it came from; projects False is a fault."""
    along = q.sum(g * direction, 1)[:, None] * direction if projects else 0
    return np.where(n < 1e-12, g, g - along) / np.maximum(n, q.real(1e-12))
