"""What the operator tells the Job that it starts when data has drifted: environment variables."""

ENV_RELEASE = "MODELRELEASE_RELEASE"
ENV_NAMESPACE = "MODELRELEASE_NAMESPACE"
ENV_REQUEST = "MODELRELEASE_RETRAIN_REQUEST"
"""Names this retraining: the same for every try of one Job,
so that a try can go on where one broke off.
"""
ENV_CAUSE = "MODELRELEASE_RETRAIN_CAUSE"
"""`Drifted`, or `Asked` where a person did."""
ENV_FEATURES = "MODELRELEASE_DRIFTED_FEATURES"
"""Names of the features that drifted, worst first, as a JSON list;
`(predictions)` may be among them.
"""
ENV_CHAMPION_VERSION = "MODELRELEASE_CHAMPION_VERSION"
"""Version that serves."""
ENV_CHAMPION_URI = "MODELRELEASE_CHAMPION_URI"
"""The version that serves: `models:/qna/7` where it is registered,
and its artifact's address otherwise.
"""
ENV_MODEL = "MODELRELEASE_MODEL"
"""Name of the registered model; empty where the release follows no registry."""
