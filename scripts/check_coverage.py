"""Reports line coverage, and fails if a part of the code has less than the minimum."""

import subprocess
import sys

LEAST = {"shared/schema/*": 95, "agent_service/*": 90, "task_service/*": 90, "*": 85}
"""Percent of lines that the tests must run, by part."""


def main() -> None:
    subprocess.run([sys.executable, "-m", "coverage", "report"], check=False)
    print()
    too_low = [part for part, least in LEAST.items() if covered(part) < least]
    if too_low:
        sys.exit(f"Too little is covered in {', '.join(too_low)}.")


def covered(part: str) -> float:
    """Print and return the percentage of a part's lines that the last test run executed."""
    command = [sys.executable, "-m", "coverage", "report", "--format=total", f"--include={part}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    percent = float(done.stdout) if done.returncode == 0 else 0.0
    print(f"{part:18} {percent:5.1f} % (at least {LEAST[part]} %)")
    return percent


if __name__ == "__main__":
    main()
