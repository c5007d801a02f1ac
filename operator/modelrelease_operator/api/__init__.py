"""The words of the API: the custom resource's spec and status, and every name built from them."""
