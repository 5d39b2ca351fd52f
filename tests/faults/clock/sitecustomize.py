"""A wrong clock: `time.time` and `time.time_ns` are SHIFT seconds off; monotonic time is right.

Python imports this at its start when the folder is on PYTHONPATH.
"""

import os
import time

_shift = float(os.environ.get("SHIFT", "0"))
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 1e9)
