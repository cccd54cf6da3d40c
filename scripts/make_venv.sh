#!/bin/sh
# Makes .venv with the newest Python found (PYTHON=/path/to/python chooses another one), and installs
# the packages of requirements/bootstrap.txt there. An incomplete .venv is created again.
set -eu

find_python() {
    unable=
    for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        unable=$candidate
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null || continue
        echo "$candidate"
        return
    done
    if [ -n "$unable" ]; then
        echo "$unable cannot make virtual environments: install its venv package" \
            "(on Debian and Ubuntu: apt install python3-venv) and run make again." >&2
    else
        echo "Tandem needs Python 3.11 or newer and found none in PATH:" \
            "install it, or name it with make PYTHON=/path/to/python3." >&2
    fi
    return 1
}

if ! .venv/bin/python -m uv --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Installing into .venv with $("$python" --version); this is done once." >&2
    "$python" -m venv --clear .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement requirements/bootstrap.txt
