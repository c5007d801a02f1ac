"""Makes the Grafana dashboards and the recording rules of the chart: `make dashboards`.

Not distributed: the chart has what comes out of it, as JSON and YAML. Panels are built by Grafana's
own builders (grafana-foundation-sdk), so a field that Grafana does not know is an error of types.
"""
