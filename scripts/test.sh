#!/usr/bin/env bash
# Everything that has to hold, from a fresh clone: installs what the tests need, then runs them all.
# Stops at the first step that fails and names it.
set -euo pipefail
cd "$(dirname "$0")/.."

step_name="starting"
steps=0
started=$SECONDS
target=${CARGO_TARGET_DIR:-$PWD/target}
binary=$target/debug/hongyan
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
trap 'code=$?; if [ $code -ne 0 ]; then printf "\nFAILED in step: %s (after %d s, %d steps passed)\n" "$step_name" "$((SECONDS - started))" "$steps" >&2; fi' EXIT

step() {
    local began=$SECONDS
    step_name=$1
    shift
    printf '\n== %s\n' "$step_name"
    "$@"
    steps=$((steps + 1))
    printf '== %s: passed in %d s (%d s so far)\n' "$step_name" "$((SECONDS - began))" "$((SECONDS - started))"
}

install_packages() {
    local missing=() fonts
    fonts=$(fc-list 2>/dev/null || true)
    command -v chromium >/dev/null || missing+=(chromium chromium-driver)
    command -v node >/dev/null || missing+=(nodejs npm)
    { command -v cc && command -v make; } >/dev/null || missing+=(build-essential)
    # Networks of their own for nodes between which things break (tests/mesh_faults).
    command -v ip >/dev/null || missing+=(iproute2)
    command -v unshare >/dev/null || missing+=(util-linux)
    # Chinese text and emoji, so that what the browser tests draw is what people see.
    grep -qi 'noto.*cjk' <<<"$fonts" || missing+=(fonts-noto-cjk)
    grep -qi 'noto.*emoji' <<<"$fonts" || missing+=(fonts-noto-color-emoji)
    [ ${#missing[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null; then
        echo "please install: ${missing[*]}" >&2
        return 1
    fi
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
}

node_packages() {
    local folder
    node -e 'if (parseInt(process.versions.node) < 20) { console.error(`Node.js 20 or later is needed, this is ${process.version}`); process.exit(1); }'
    for folder in sdk/js tests/browser; do
        (cd "$folder" && npm ci --no-audit --no-fund --silent)
    done
}

# Builds the binary too, for the tests that start it; the steps below use it. (`cargo build` would build it again: without
# the tests' own dependencies some of the others have fewer features.)
rust_tests() {
    export FUZZ_SECONDS=${FUZZ_SECONDS:-5}
    # Root may make network namespaces; where even root may not, that is to be seen and not skipped.
    [ "$(id -u)" -ne 0 ] || export TEST_NEED_NAMESPACES=${TEST_NEED_NAMESPACES:-1}
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --no-fail-fast
    else
        cargo test --lib --bins --tests --no-fail-fast
    fi
    cargo test --doc
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
}

types() {
    (cd sdk/js && npx --no-install tsc --noEmit -p .)
    sdk/js/node_modules/.bin/tsc --noEmit -p web/test/tsconfig.json
}

page_tests() {
    (cd sdk/js && TEST_HONGYAN="$binary" npm test --silent)
    node --test web/test/
}

browser_tests() {
    (cd tests/browser && HONGYAN_BIN="$binary" npm test --silent)
}

step "packages" install_packages
step "node packages" node_packages
step "format" cargo fmt --check
step "clippy" cargo clippy --all-targets --quiet -- -D warnings
step "tests, simulation, short fuzzing" rust_tests
step "documentation" docs
step "types of SDK and page" types
step "SDK and page" page_tests
step "browser" browser_tests

printf '\nAll steps passed in %d s.\n%d passed, 0 failed\n' "$((SECONDS - started))" "$steps"
