"""The commands, one module each: options, one call of what does the work, and the answer.

A module has `add`, which makes its parser, and `run`. What does the work is imported in `run`,
because libraries that take seconds to import should not delay `--help`.
"""
