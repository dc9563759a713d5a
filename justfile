# The everyday verbs; `just` alone lists them. Everything works without just, too.

# List the verbs
default:
    @just --list

# Live a day with a family (README)
demo *arguments:
    cargo run --release --bin kinline-sim -- demo {{arguments}}

# Every test (README)
test *arguments:
    cargo test --workspace {{arguments}}

# Format
fmt:
    cargo fmt --all

# Lints, as CI runs them: warnings are errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, sources, versions of dependencies
deny:
    cargo deny --locked check licenses bans sources

# Known vulnerabilities of dependencies (fetches RustSec's database)
advisories:
    cargo deny --locked check advisories

# The pages that `cargo doc` makes, ours alone
doc:
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps

# Measure; the figures worth keeping go into docs/PERFORMANCE.md
bench *arguments:
    cargo bench --workspace --features kinline-protocol/client {{arguments}}

# The relay under load, beside bare programs on this machine: `just load --all --report load.json`
load *arguments:
    cargo run --release --bin kinline-sim -- load {{arguments}}

# A relay to try with; its first line is the address that devices want
relay *arguments:
    cargo run --release --bin kinline-server -- serve --data /tmp/maple/relay/data {{arguments}}

# One device to try with: `just device phone status`
device name *arguments:
    cargo run --release --bin kinline-sim -- device --state /tmp/maple/{{name}} {{arguments}}

# Write the protocol's test vectors again
vectors:
    cargo run -p kinline-protocol --features client --example make_vectors

# Everything that must hold before a change lands
ci:
    bash .ci/run
