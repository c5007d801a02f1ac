"""Writes every dashboard and the recording rules into the chart: `python -m dashboards`."""

from dashboards.files import FILES, texts


def main() -> None:
    """Write them all, and remove dashboards that are made no more."""
    made = {FILES / name: text for name, text in texts().items()}
    for old in (FILES / "dashboards").glob("*.json"):
        if old not in made:
            old.unlink()
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
