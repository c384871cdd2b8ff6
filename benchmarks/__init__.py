"""Scripts that measure: `python -m benchmarks.NAME`.

OpenMP's threads sleep at barriers here, as in the engine's own processes (`dataengine/runtime/cluster.py`): threads
that spin lose ten times more to a neighbour on a core than the few per cent that they gain on a quiet machine. Set
before any module can import torch, which reads it once; a value from outside is kept.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
