/* Goal 3 over a Bitcoin node's RPC: the early blocks from a real node into the UTXO index, whole process. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/file.h"
#include "bench/folder.h"
#include "bench/harness.h"
#include "bench/rpc/node.h"
#include "bench/run_process.h"

#define EARLY_BLOCKS 14132

static double index_over_rpc(void *user_data)
{
    const struct node *node = user_data;
    struct sorex_error err = {0};
    struct buf text = {0};
    char dir[FOLDER_PATH_SIZE], file[FOLDER_PATH_SIZE + 32];
    const char *guests = getenv("SOREX_GUESTS");
    if (guests == NULL)
        bench_die("SOREX_GUESTS is not set: run the benchmarks with `make bench`");
    folder_make(dir);
    (void)snprintf(file, sizeof file, "%s/pipeline.yaml", dir);
    enum sorex_status status = buf_printf(&text, &err,
                                          "name: bench\ndata: %s/data\n"
                                          "source: {type: bitcoind, url: \"http://127.0.0.1:%u\", user: " NODE_USER
                                          ", password: " NODE_PASSWORD "}\n"
                                          "indexer: {name: utxo, wasm: %s/utxo.wasm}\n",
                                          dir, node->port, guests);
    if (status == SOREX_OK)
        status = file_replace(file, buf_view(&text), &err);
    if (status != SOREX_OK)
        bench_die("%s: %s", file, err.text);
    buf_deinit(&text);
    struct run_cost cost = run_pipeline(file, EARLY_BLOCKS - 1);
    folder_remove(dir);
    return EARLY_BLOCKS / cost.seconds;
}

int main(void)
{
    static struct bench bench;
    struct node node;
    char dir[FOLDER_PATH_SIZE], blocks[4096];
    const char *source = getenv("SOREX_SOURCE_DIR");
    if (!node_installed()) {
        printf("rpc: skipped: btcd or its addblock is not in build/deps/bin\n");
        return 0;
    }
    if (source == NULL)
        bench_die("SOREX_SOURCE_DIR is not set: run the benchmarks with `make bench`");
    (void)snprintf(blocks, sizeof blocks, "%s/examples/blocks/blk00000.dat", source);
    folder_make(dir);
    node_start(&node, dir, blocks);
    bench_start(&bench, "rpc");
    bench_measure(&bench,
                  &(struct bench_row){.target = 3,
                                      .what = "14,132 early blocks over the RPC of btcd, UTXO indexer, whole process",
                                      .unit = "blocks/s",
                                      .more_is_better = true,
                                      .subject = index_over_rpc,
                                      .rival_value = 210,
                                      .rival_name = "metashrew with its sleeps patched out, measured elsewhere",
                                      .goal = 10},
                  &node);
    node_stop(&node);
    folder_remove(dir);
    return bench_finish(&bench);
}
