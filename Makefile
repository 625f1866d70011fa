# Short names for what CMake's presets do. Everything that is made goes below build/.
#
#   make run     on a fresh Debian 12, as root: installs what is missing, builds, indexes the example's blocks, shows the result
#   make check   everything that is tested, plain and with sanitizers; then half a minute for each fuzz target

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
RELEASE := build/release
SOREX := $(RELEASE)/src/sorex

.PHONY: all build deps test-deps run demo-game check fuzz tsan torture bench install clean distclean help
.DEFAULT_GOAL := build

all: build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## installs missing Debian packages (as root), fetches PGlite, builds Wasmtime (once, about 5 minutes)
	@scripts/install-deps.sh build

test-deps: ## what the tests need besides: cmocka, PostgreSQL, a Bitcoin node (btcd)
	@scripts/install-deps.sh test

build: ## the program, the library and the guests, optimised: build/release
	@test -e build/deps/wasmtime.stamp -a -e build/deps/pglite.stamp || scripts/install-deps.sh build
	cmake --preset release -D SOREX_TESTS=OFF -D SOREX_BENCH=OFF
	cmake --build --preset release -j $(JOBS)

run: deps build ## indexes the example's 14,132 Bitcoin blocks and shows the largest balances; again: continues
	$(SOREX) run examples/bitcoin.yaml --until tip
	@echo; $(SOREX) sql examples/bitcoin.yaml -c "select key as script, kind, balance from balances order by balance desc, key limit 10"

demo-game: deps ## plays a game of war, 120 messages of examples/dnd/game.jsonl: map, survivors, winner, receipt
	@scripts/install-deps.sh zig || echo "without Zig: the game in C"
	@$(MAKE) --no-print-directory build
	@scripts/demo-game.sh $(RELEASE) data/game

check: deps test-deps ## all tests, plain and with sanitizers (threads: tsan), then each fuzz target for SOREX_FUZZ_SECONDS=10
	@JOBS=$(JOBS) scripts/check.sh dev asan tsan

torture: deps test-deps ## every fault instead of samples of them: 1,000 kills, every failing call, 100,000 histories; about an hour on two cores
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS)
	ctest --preset dev -C torture -L torture -j $(JOBS) -V

SECONDS ?= 60
fuzz: deps test-deps ## runs every fuzz target with libFuzzer (clang), SECONDS=60 each
	@JOBS=$(JOBS) scripts/fuzz.sh $(SECONDS)

tsan: deps test-deps ## all tests under ThreadSanitizer
	cmake --preset tsan
	cmake --build --preset tsan-all -j $(JOBS)
	rm -f build/tsan/reports/*
	ctest --preset tsan-all; status=$$?; scripts/reports.sh tsan && exit $$status

bench: deps test-deps ## builds the benchmarks, runs them and makes docs/PERFORMANCE.md
	cmake --preset release -B build/bench -D SOREX_TESTS=OFF -D SOREX_BENCH=ON
	cmake --build build/bench -j $(JOBS)
	cmake --build build/bench --target bench

install: build ## installs program, library, headers, CMake package and pkg-config file below PREFIX
	cmake --install $(RELEASE) --prefix "$(PREFIX)"

clean: ## removes what was built, but not the dependencies in build/deps
	@find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null || true

distclean: ## removes what was built, dependencies too
	rm -rf build
