# Fuzz each parser of Zero-DB for a while; what was found before is where it goes on.
# Usage: SECONDS_EACH=60 bash setup/fuzz.sh [target ...]
set -euo pipefail
cd "$(dirname "$0")/../rust/zdb-server"

if ! cargo fuzz --version >/dev/null 2>&1; then
	echo "fuzz  needs cargo-fuzz: cargo install cargo-fuzz" >&2
	exit 1
fi
# libFuzzer's instrumentation is not stable yet; this lets the compiler that is there use it.
export RUSTC_BOOTSTRAP=1
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then targets=(requests server files); fi
for target in "${targets[@]}"; do
	echo "fuzz  $target"
	cargo fuzz run --sanitizer none "$target" -- \
		-max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -timeout=20 -dict=fuzz/requests.dict
done
