"""What tests and benchmarks both stand on: worlds, servers, an API server, builders with defaults.

It knows neither of the two, and nothing that is installed knows it.
"""
