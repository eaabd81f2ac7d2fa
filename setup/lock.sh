# Renew requirements.lock from pyproject.toml: every package with its version and the hashes of its files, for
# Python 3.11 and newer. Run by hand (make lock) when a dependency was added; the result is committed.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet uv
{
  echo "# Every Python package of tfgrid and its tests, with the hashes of its files. Made by: make lock"
  "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links --group dev "$@" pyproject.toml
} >"$tools/requirements.lock"
cp "$tools/requirements.lock" requirements.lock
(cd rust && cargo update --workspace --quiet)
