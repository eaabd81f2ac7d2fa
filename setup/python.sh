# Step 2: .venv with every Python package of requirements.lock, each held to its hash.
set -euo pipefail
source setup/step.sh

python=${PYTHON:-python3}

venv_is_ours() {
  [[ $(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null) == "$PWD/.venv" ]]
}

main() {
  local hash
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    stop python "needs Python 3.11 or newer. Try: PYTHON=/path/to/python3.11 make setup"
  hash=$(inputs_hash requirements.lock setup/python.sh)
  if fresh python "$hash"; then
    say python "all there already"
    return
  fi
  if ! venv_is_ours; then
    say python "making .venv"
    logged python "$python" -m venv --clear .venv
  fi
  say python "installing $(grep -c '==' requirements.lock) packages of requirements.lock"
  logged python .venv/bin/python -m pip install --require-hashes --no-deps \
    --disable-pip-version-check --no-input -r requirements.lock
  stamp python "$hash"
  say python "done"
}

main
