"""Install the wheel alone and check every claim that needs neither torch nor the repository's tables.

    python tools/check_wheel.py lowest      with the lowest dependencies that pyproject.toml allows
    python tools/check_wheel.py newest      with the newest

The wheel is the one in dist/, which `make dist` builds.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MISSING = re.compile(r"NOT CHECKED: (No module named .*pip install|.*tables are in the repository)")


def lowest() -> list[str]:
    """The lower bounds of the library's own dependencies, as pins."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [bound.replace(">=", "==") for bound in settings["project"]["dependencies"]]


def main(which: str) -> int:
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1 or which not in ("lowest", "newest"):
        print(f"{__doc__}\n{len(wheels)} wheels in {ROOT / 'dist'}: `make dist` leaves one", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        install = [str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheels[0])]
        subprocess.run([*install, *(lowest() if which == "lowest" else [])], check=True)
        done = subprocess.run(
            [str(programs / "afli"), "check", "--all"], cwd=folder, capture_output=True, encoding="utf-8", check=False
        )
    print(done.stdout, done.stderr)
    lines = [line for line in done.stdout.splitlines() if ": NOT CHECKED: " in line]
    unexplained = [line for line in lines if not MISSING.search(line)]
    print("\n".join(["not explained:", *unexplained]) if unexplained else f"{len(lines)} not checked, with the reason")
    return 1 if unexplained or " claims, 0 refuted" not in done.stdout else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or [""]))
