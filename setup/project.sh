# Step 3: tfgrid itself, with its native module built from rust/, installed so that edits of Python files count at once.
set -euo pipefail
source setup/step.sh

main() {
  local hash
  local inputs
  mapfile -t inputs < <(find rust -name target -prune -o -type f -print | sort)
  hash=$(inputs_hash pyproject.toml requirements.lock setup/project.sh "${inputs[@]}")
  if fresh project "$hash" && .venv/bin/python -c 'from tfgrid import _native' 2>/dev/null; then
    say project "all there already"
    return
  fi
  say project "building the native module and installing tfgrid"
  logged project .venv/bin/python -m pip install --no-deps --no-build-isolation \
    --disable-pip-version-check --no-input --editable .
  logged project .venv/bin/python -c 'from tfgrid import _native'
  stamp project "$hash"
  say project "done"
}

PATH=$PWD/.venv/bin:$PATH main
