"""Where printed figures lie in a document: between two marks, so that a run can replace them."""

from pathlib import Path


def between_marks(text: str, printed: str, *, mark: str) -> str:
    """Return the text with what lies between the two marks replaced; raise ValueError without."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, remainder = text.partition(begin)
    _, end_found, after = remainder.partition(end)
    if not end_found:
        msg = f"the file must hold the lines {begin} and {end}, in this order"
        raise ValueError(msg)
    return f"{before}{begin}\n\n{printed}\n\n{end}{after}"


def put(file: Path, printed: str, *, mark: str) -> None:
    """Replace what lies between the two marks of a file; raise ValueError without them."""
    file.write_text(between_marks(file.read_text(), printed, mark=mark))
