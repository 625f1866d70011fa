#!/bin/sh
# reports.sh PRESET: prints what sanitizers wrote to build/PRESET/reports, in whatever process; fails when there is any.
cd "$(dirname "$0")/.." || exit 1
set -- "build/$1"/reports/*
[ -e "$1" ] || exit 0
cat "$@"
echo "sanitizer reports: $*"
exit 1
