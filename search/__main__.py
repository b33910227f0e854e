"""`distil COMMAND ...`, or `python -m search COMMAND ...`, for `python -m search.COMMAND ...`."""

import runpy
import sys
from pathlib import Path

from trainable.common.errors import error_line, not_among


def main() -> None:
    """Runs the command that is named first; exits with its code, or with 2 if there is none."""
    commands = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__main__.py"))
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(f"usage: distil {{{','.join(commands)}}} ...\n`distil COMMAND --help` has more")
        sys.exit(0)
    if name not in commands:
        print(error_line(not_among(name, commands)), file=sys.stderr)
        sys.exit(2)
    del sys.argv[0]
    runpy.run_module(f"search.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
