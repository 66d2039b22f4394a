"""`toolprm-annotate-beam`, or what to install for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: the arguments; those of the process if None.

    Returns:
      The exit status: that of the pipeline, or 2 where Apache Beam is not installed.
    """
    try:
        from .pipeline import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "apache_beam":
            raise
        needed = "needs Apache Beam: pip install 'toolprm-jax[beam]'"
        if {"-h", "--help"} & {*(sys.argv[1:] if argv is None else argv)}:
            print(
                f"usage: toolprm-annotate-beam ...\n\n{needed}; then this tells its options.\n"
                "It annotates as toolprm-annotate does, as a pipeline that any of Beam's runners "
                "takes."
            )
            return 0
        print(f"toolprm-annotate-beam: error: {needed}", file=sys.stderr)
        return 2
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
