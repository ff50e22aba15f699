"""Numbers for the shipped cases: raw PCG64 words, scaled exactly, so that every NumPy gives the same bytes."""
import math
import os
import zlib

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


class Source:
    """Deterministic numbers; every case has its own stream, so that a new case changes no other."""

    def __init__(self, name):
        self.bits = np.random.PCG64(zlib.crc32(name.encode()))

    def raw(self, *shape):
        return self.bits.random_raw(math.prod(shape)).reshape(shape)

    def uniform(self, *shape):
        """float32 in [-1, 1), multiples of 2^-23."""
        return ((self.raw(*shape) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32)

    def keys(self, *shape):
        """float64 in [0, 1), multiples of 2^-53."""
        return (self.raw(*shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def pick(self, values, *shape):
        return np.asarray(values, np.int64)[(self.raw(*shape) % np.uint64(len(values))).astype(np.int64)]
