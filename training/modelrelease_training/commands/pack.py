"""`modelrelease-train pack`: a folder for a server that is not ours becomes an artifact."""

import argparse
from pathlib import Path

from modelrelease_training.commands.common import (
    Commands,
    add_command,
    add_label,
    print_answer,
    table,
)
from modelrelease_training.errors import ArtifactError

_EPILOG = """\
examples:
  modelrelease-train pack weights --name chat --version 7
  modelrelease-train pack weights --name chat --version 7 --format json | jq -r .digest

FOLDER is what a server that is not ours reads: a language model's weights, a model repository. Its manifest.json is
written there, with the digest of each file, and nothing is copied. Pods check all of them before the server starts.
The predictor of this project serves no such artifact: name your server in spec.serving.runtime.
"""  # noqa: E501


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "pack",
        run,
        summary="make an artifact of files for a server that is not ours",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="all of it, but hidden files")
    add_label(parser)
    parser.add_argument("--force", action="store_true", help="replace a manifest that is there")


def run(options: argparse.Namespace) -> int:
    """Write the manifest, and say what pins it."""
    from modelrelease_training.export import Label  # noqa: PLC0415 (see the package)
    from modelrelease_training.pack import pack  # noqa: PLC0415

    if not options.folder.is_dir():
        msg = f"{options.folder} is no folder: name the one that the server reads"
        raise ArtifactError(msg)
    label = Label(name=options.name, version=options.version)
    try:
        packed = pack(options.folder, label, force=options.force)
    except OSError as error:
        msg = f"{error.filename or options.folder}: {error.strerror or error}"
        raise ArtifactError(msg) from error
    fields = {
        "name": options.name,
        "version": options.version,
        "path": str(packed.path),
        "digest": packed.digest,
        "files": len(packed.manifest.files),
    }
    lines = {"folder": packed.path, "digest": packed.digest, "files": fields["files"]}
    print_answer(options, fields, table(f"Packed {options.name} {options.version}", lines))
    return 0
