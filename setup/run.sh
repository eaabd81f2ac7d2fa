# Set-up: what is missing is installed, what is there is left alone. No question is asked.
# Usage: bash setup/run.sh [bench]
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
exec 9>build/setup.lock
flock 9 # two makes at once take turns

bash setup/packages.sh "${1:-}"
bash setup/python.sh
bash setup/project.sh
