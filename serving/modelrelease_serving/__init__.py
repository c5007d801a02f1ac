"""The predictor: brings one artifact to a volume, checks it, and answers predictions from it.

Knows nothing of Kubernetes' API, training or how releases move. Importing the package pins the
threads of numerical libraries, unless the environment does: they read it only once, when they are
imported.
"""

from modelrelease_serving.threads import pin

pin()
