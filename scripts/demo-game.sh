#!/bin/sh
# Plays examples/dnd/game.jsonl and shows what came of it. usage: demo-game.sh BUILD_DIR DATA_DIR
set -eu
cd "$(dirname "$0")/.."
sorex=$1/src/sorex
data=$2
log=examples/dnd/game.jsonl
# Another reducer than the directory's is another database.
reducer=$1/guests/dnd.wasm
[ -e "$reducer" ] || reducer=$1/guests/dnd_c.wasm
rm -rf "$data"

sql() { "$sorex" sql --data "$data" --quiet "$@"; }
board() {
    echo
    echo "$1"
    shift
    sql --tuples-only "$@" -c "select cells from map"
}

echo "$reducer: $(wc -l <"$log") messages of $log"
"$sorex" derive --reducer "$reducer" --log "$log" --data "$data" --receipt "$data.receipt" --query "select victor()"
board "The board after 60 messages: ann in capitals, bob in small letters, # walls, ~ rough ground, ^ trees" --at 60
sql --tuples-only --at 60 -c "select what from (select * from story order by message desc limit 3) as last order by message"
board "At the end"
sql -c "select u.name, p.name as player, class, u.hp from units u join players p using (seat) where u.hp > 0 order by 2, 1" \
    -c "select victor()"
echo "$data.receipt: $(wc -c <"$data.receipt") bytes, in which the reducer, the log and the winner are; whoever has the log can check it:"
"$sorex" verify --reducer "$reducer" --log "$log" --receipt "$data.receipt"
