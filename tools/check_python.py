"""Say what is missing before the environment is created. Runs on any Python 3, so that the message is always seen."""

import sys

ADVICE = """\
AFLI Companion needs Python 3.11, 3.12 or 3.13 with the venv module.
This is Python {version} at {executable}.
{problem}
Another interpreter can be named:  make book PYTHON=/path/to/python3.12
"""


def problem() -> "str | None":
    """What stops this interpreter from creating the environment, or None."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "Its version is not one of these."
    try:
        import ensurepip  # noqa: F401  (what Debian and Ubuntu leave out)
        import venv  # noqa: F401
    except ImportError:
        return "It lacks venv. On Debian and Ubuntu:  sudo apt install python3-venv"
    return None


if __name__ == "__main__":
    found = problem()
    if found:
        sys.exit(ADVICE.format(version=sys.version.split()[0], executable=sys.executable, problem=found))
