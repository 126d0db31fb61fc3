# The commands of CONTRIBUTING.md; `just` lists them.

_list:
    @just --list

# Build the command: target/debug/gopherworks
build:
    cargo build

# Run all tests, or those that ARGS select
test *ARGS='--workspace':
    cargo test {{ARGS}}

# Check format and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Check one set of features, for example `just features http`; none by default
features FEATURES='':
    cargo clippy --package gopherworks --locked --no-default-features --features '{{FEATURES}}' -- -D warnings

# Drive the page for operators in Chromium, as a user would; `just page --pictures FOLDER` keeps screenshots
page *ARGS: build
    python3 -m pip install --quiet --target target/page -r tests/page/requirements.txt
    PYTHONPATH=target/page tests/page/run.py {{ARGS}}

# Count the instructions of the hot paths; `just instructions --update` rewrites the baseline
instructions *ARGS:
    .ci/instructions {{ARGS}}

# Build what is shipped and benchmarked: target/dist/gopherworks
dist:
    cargo build --profile dist --locked --features expressions,jetstream,postgres

# Check licences, duplicates, sources and advisories of the dependencies
deny:
    cargo deny check

# Run all checks of CI, in its order
ci:
    .ci/run
