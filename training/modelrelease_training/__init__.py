"""Makes data, trains, evaluates and exports the artifacts that a release serves.

Knows nothing of Kubernetes or HTTP; what it writes is described by
`modelrelease_contract.artifact`.
"""
