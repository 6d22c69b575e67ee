"""Has the engine become clearly slower? Paired with the bare loop, in the same seconds: python benchmarks/gate.py

The floors are far below what is usual, so that a busy machine does not fail, and high enough that a cost for each task or each
round trip does. What fails is measured again, up to three times.
"""

from __future__ import annotations

import json
import subprocess
import sys

FLOORS = {
    "drain ÷ bare loop": 0.25,  # usual: 0.7
    "enqueue ÷ INSERT": 0.4,  # 0.75
    "enqueue many ÷ COPY": 0.2,  # 0.4
    "steps ÷ drain": 0.3,  # 0.6
}
CEILINGS = {"round trips a task": 0.05}
TRIES = 3


def main() -> int:
    for attempt in range(1, TRIES + 1):
        command = [
            sys.executable,
            "-m",
            "howdah",
            "bench",
            "drain",
            "enqueue",
            "machine",
            "--rounds",
            "3",
            "--tasks",
            "10000",
        ]
        said = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=True).stdout
        found = {row["name"]: row["median"] for row in json.loads(said)["figures"]}
        slow = [name for name, floor in FLOORS.items() if found[name] < floor]
        slow += [name for name, ceiling in CEILINGS.items() if found[name] > ceiling]
        for name, bound in (FLOORS | CEILINGS).items():
            print(f"{name:24} {found[name]:8.3g}  {'slow' if name in slow else 'ok':4}  {bound:g}")
        if not slow:
            return 0
        print(f"try {attempt} of {TRIES}: {', '.join(slow)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
