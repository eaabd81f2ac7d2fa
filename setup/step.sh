# Shared by the set-up steps: one line of progress for each, a log behind it, and a stamp that makes the second run
# do nothing. A stamp is the hash of a step's inputs, kept only after the step succeeded.
# Sourced, with the repository root as the working directory.

log=build/setup.log
stamps=.venv/.setup

# say STEP TEXT: one line of progress.
say() { printf 'setup  %-9s %s\n' "$1" "$2"; }

# stop STEP TEXT: say what is wrong and what to do, and end.
stop() {
  say "$1" "$2" >&2
  exit 1
}

# logged STEP COMMAND...: run a command into the log; if it fails, show the end of the log and stop.
logged() {
  local step=$1
  shift
  mkdir -p build
  printf '\n+ %s\n' "$*" >>"$log"
  if ! "$@" >>"$log" 2>&1; then
    tail -n 25 "$log" >&2
    stop "$step" "failed at: $* (all of it is in $log)"
  fi
}

# inputs_hash FILE...: one hash over names and contents, and over the folder, because .venv cannot be moved.
inputs_hash() { { pwd && "${PYTHON:-python3}" --version && sha256sum "$@"; } | sha256sum | cut -c1-64; }

# fresh STEP HASH: whether the step was done with exactly these inputs.
fresh() { [[ -x .venv/bin/python && $(cat "$stamps/$1" 2>/dev/null) == "$2" ]]; }

# stamp STEP HASH: remember that the step was done with these inputs.
stamp() { mkdir -p "$stamps" && printf '%s\n' "$2" >"$stamps/$1"; }
