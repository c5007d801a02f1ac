"""From raw counters of many processes to what both arms counted in one interval."""
