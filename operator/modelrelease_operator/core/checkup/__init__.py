"""What `modelrelease doctor` concludes from what it could read of a cluster: pure, no client."""
