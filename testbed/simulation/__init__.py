"""The whole loop, simulated by seed: the real passes on an API server, a clock, nodes and metrics
that misbehave as a number says, so that whatever went wrong can be made to go wrong again.

What is real: `Reconciler`, the client down to its socket, the cache, the workers' way with errors,
`decide` and everything that it stands on. What is simulated: the API server, the nodes, whoever
scrapes, people, and time. `docs/explanation/simulation.md` says what misbehaves and what must hold.
"""
