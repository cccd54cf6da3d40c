"""Looks for secrets in the tracked files; with --staged, only in those of the next commit.

`.secrets.json` lists by hash the findings that a person has judged harmless; --accept adds what is
found now. No finding is sent anywhere to see whether it works.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import get_settings, transient_settings

from scripts.protoc import ROOT

HARMLESS = ROOT / ".secrets.json"
# Hashes of packages and of findings, and code that follows from the protos.
GENERATED = ("requirements/", "tandem/", HARMLESS.name)
# The password of an example URL, and the names of constraints and indexes.
NO_SECRETS = ["^password$", "^(ck|fk|idx|pk|uq)_"]
# It lets pass what looks like the call of a function, by an expression that takes minutes to try on
# long lines.
NOT_USED = "detect_secrets.filters.heuristic.is_indirect_reference"
OWN_DETECTOR = {
    "name": "TandemApiKeyDetector",
    "path": f"file://{ROOT / 'scripts' / 'api_key_detector.py'}",
}
ADVICE = """\
Take a real secret out, and revoke it. If it is none, end its line with the comment
`pragma: allowlist secret`, or run `make secrets ARGS=--accept` and commit .secrets.json."""


def main() -> None:
    found = scan(changed_files() if "--staged" in sys.argv else tracked_files())
    known: dict[str, str] = json.loads(HARMLESS.read_text())
    unknown = [finding for finding in found if finding.secret_hash not in known]
    if "--accept" in sys.argv:
        known |= {one.secret_hash: f"{one.type} in {one.filename}" for one in unknown}
        HARMLESS.write_text(f"{json.dumps(known, indent=2)}\n")
    elif unknown:
        for one in unknown:
            print(f"{one.filename}:{one.line_number}: {one.type}")
        sys.exit(ADVICE)


def scan(files: Iterable[str]) -> list[PotentialSecret]:
    """What looks like a secret in these files."""
    secrets = SecretsCollection()
    with transient_settings(_settings()):
        secrets.scan_files(*(file for file in files if not file.startswith(GENERATED)))
    return [secret for _, secret in secrets]


def tracked_files() -> list[str]:
    """Every file that git tracks, as it is in the working directory."""
    return _git("ls-files", "-z")


def changed_files() -> list[str]:
    """The files that the next commit adds or changes."""
    return _git("diff", "--cached", "--name-only", "--diff-filter=d", "-z")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return list(filter(None, done.stdout.split("\0")))


def _settings() -> dict[str, Any]:
    kinds: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    get_mapping_from_secret_type_to_class.cache_clear()  # our own detector is not in it yet
    filters = [{"path": path} for path in get_settings().filters if path != NOT_USED]
    ignored = {"path": "detect_secrets.filters.regex.should_exclude_secret", "pattern": NO_SECRETS}
    return {
        "plugins_used": [*({"name": kind.__name__} for kind in kinds), OWN_DETECTOR],
        "filters_used": [*filters, ignored],
    }


if __name__ == "__main__":
    main()
