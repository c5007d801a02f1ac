"""Traffic providers: a weight in, pods and routing objects out, and what is in effect read back.

Nothing here talks to an API. A provider is one module with one class (`provider.TrafficProvider`)
and one entry in `registry.PROVIDERS`; docs/how-to/add-a-traffic-provider.md walks through adding
one.
"""
