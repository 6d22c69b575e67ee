from dataclasses import dataclass
from pathlib import Path
@dataclass
class Proof:
    x: int
async def write(conn, run, to): ...
