"""Bearer tokens, as requests carry them."""


def bearer_token(header: str) -> str:
    """Return the token of an Authorization header, empty where it has none of that kind."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""
