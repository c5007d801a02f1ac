"""The predictor: brings one artifact to a volume, checks it, and answers predictions from it.

Knows nothing of Kubernetes' API, training or how releases move. Importing the package sets one
thread for BLAS and OpenMP, and no process pools for joblib, unless the environment says otherwise:
they read these variables only once, and a pool as wide as the node on a pod's one CPU makes every
prediction slower.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
