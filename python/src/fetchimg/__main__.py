"""``python -m fetchimg`` is the command ``fetchimg``."""

import os
import sys

from . import find_binary

binary = find_binary()
os.execv(binary, [binary, *sys.argv[1:]])
