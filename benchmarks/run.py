"""Run the benchmarks, each in a fresh process on one thread, and print all claims in one table.

Usage: python benchmarks/run.py [--quick] [--output FOLDER] [--scale]. Writes ``summary.json`` and
``summary.md`` beside the results of every script. What takes minutes and gigabytes, `scale.py`,
runs alone and on demand (`--scale`); its last results are in the summary all the same.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from measuring import Claim, Rows, arguments, claim_rows, table, write_json

SCRIPTS = (
    "fit_epoch",
    "predict",
    "bound",
    "moment",
    "projection",
    "kernel",
    "threads",
    "breakdown",
    "scaling",
)
LARGE = "scale"
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


def run(script: str, output: Path, *, quick: bool) -> bool:
    """Run one script; whether it ended well."""
    print(f"\n=== {script}", flush=True)
    # Results of another run must not stand for those of this one.
    (output / f"{script}.json").unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).parent / f"{script}.py"), "--output", str(output)]
    environment = os.environ | ONE_THREAD
    return subprocess.run([*command, *["--quick"] * quick], env=environment).returncode == 0


def summarise(output: Path) -> Rows:
    """Print and write all claims of the results that are there."""
    rows: Rows = []
    runs = []
    for script in (*SCRIPTS, LARGE):
        path = output / f"{script}.json"
        if path.exists():
            results = json.loads(path.read_text())
            found = claim_rows([Claim(**claim) for claim in results["claims"]])
            rows += [{"script": script, **row} for row in found]
            runs.append({name: results[name] for name in ("name", "date", "quick", "machine")})
    write_json(output / "summary.json", {"claims": rows, "runs": runs})
    (output / "summary.md").write_text(markdown(rows, runs))
    print(f"\nAll claims\n{table(rows)}")
    return rows


def markdown(rows: Rows, runs: Rows) -> str:
    """The claims, and when and where they were measured, for the documentation."""
    columns = ("what", "ratio", "at_most", "holds", "case")
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in rows:
        cells = [f"{row[c]:.3g}" if isinstance(row[c], float) else row[c] for c in columns]
        lines.append(f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |")
    dates = sorted(str(run["date"])[:10] for run in runs)
    lines.append("")
    if dates:
        lines.append(f"Measured {' to '.join(sorted({dates[0], dates[-1]}))}.")
    for machine in {json.dumps(run["machine"]): run["machine"] for run in runs}.values():
        lines.append(f"On {', '.join(f'{name} {value}' for name, value in machine.items())}.")
    if any(run["quick"] for run in runs):
        lines.append("A quick run at tiny sizes: its ratios mean nothing.")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--scale", action="store_true", help=f"run {LARGE}.py, and nothing else")
    options = parser.parse_args()
    scripts = (LARGE,) if options.scale else SCRIPTS
    failed = [name for name in scripts if not run(name, options.output, quick=options.quick)]
    summarise(options.output)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
