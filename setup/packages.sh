# Step 1: the Debian packages of packages.list that this machine lacks.
# Usage: bash setup/packages.sh [bench]
set -euo pipefail
source setup/step.sh

rust_min=1.78

rust_is_there() {
  local found
  found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
  [[ $(printf '%s\n' "$rust_min" "$found" | sort -V | head -n 1) == "$rust_min" ]]
}

wanted() {
  local kinds="always ${1:-}"
  rust_is_there || kinds+=" rust"
  while read -r package when _; do
    [[ $package == '#'* || -z $package ]] && continue
    [[ " $kinds " == *" $when "* ]] && echo "$package"
  done <setup/packages.list
  return 0
}

missing() {
  local package
  for package in $(wanted "${1:-}"); do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

# Debian 12 calls its newer Rust rustc-web; where a release has no such package, the plain one is new enough.
available() {
  local package
  for package in "$@"; do
    if [[ $package == *-web && -z $(apt-cache madison "$package" 2>/dev/null) ]]; then
      package=${package%-web}
    fi
    echo "$package"
  done
}

main() {
  if ! command -v dpkg-query >/dev/null; then
    say packages "this is not Debian; nothing is installed, tfgrid doctor will say what is missing"
    return
  fi
  local lacking
  lacking=$(missing "${1:-}" | xargs)
  if [[ -z $lacking ]]; then
    say packages "all there already"
    return
  fi
  if ((EUID)); then
    stop packages "missing: $lacking. Try, as root: apt-get install $lacking"
  fi
  say packages "installing: $lacking"
  export DEBIAN_FRONTEND=noninteractive
  logged packages apt-get update
  # shellcheck disable=SC2046,SC2086
  logged packages apt-get install -y --no-install-recommends $(available $lacking)
  say packages "done"
}

main "$@"
