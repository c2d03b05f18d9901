"""Pickles and .npy files of other people, read without running anything in them.

A pickle is a program: `pickle.load` does whatever the file says, and so does `numpy.load(allow_pickle=True)`.
Here a machine of our own reads the same instructions and knows no function but a handful of constructors,
also our own, which check what they are given. What comes out holds numpy arrays, scalars and dtypes, dict,
list, tuple, set, frozenset, str, bytes, int, float, complex, bool and None, and nothing else. Memory and time
are bounded by the size of the file.
"""

from headstart.safe_pickle.npy import load_npy, load_npz
from headstart.safe_pickle.pickles import load_pickle
from headstart.safe_pickle.source import OldText, Readable

__all__ = ["OldText", "Readable", "load_npy", "load_npz", "load_pickle"]
