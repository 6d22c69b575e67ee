"""`howdah bench` on a server of its own, kept in `results/`: python benchmarks/run.py [WORKLOAD …] [--rounds N] [--soak MINUTES]"""

from __future__ import annotations

import argparse
import subprocess
import sys

from machine import postgresql
from report import RESULTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only the soak, for so long")
    asked = parser.parse_args()
    howdah = [sys.executable, "-m", "howdah"]
    RESULTS.mkdir(exist_ok=True)
    with postgresql() as place, place.database() as url:
        subprocess.run([*howdah, "migrate", "--dsn", url], check=True)
        what = (
            ["soak", "--minutes", str(asked.soak)] if asked.soak else [*asked.workloads, "--rounds", str(asked.rounds)]
        )
        done = subprocess.run([*howdah, "bench", *what, "--dsn", url, "-o", "json"], stdout=subprocess.PIPE, check=True)
    file = RESULTS / ("soak.json" if asked.soak else "howdah.json")
    file.write_bytes(done.stdout)
    print(f"written: {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
