/* Indexer: unspent outputs and balances of a Bitcoin chain.
 *
 *   key                          value
 *   'u' txid(32) output u32le    value u64le, script          empty once spent
 *   'b' script                   balance u64le                empty when it is 0
 *   'c'                          what the block changed: time u64le (ms), count u32le, then count times
 *                                  before u64le, after u64le, length u32le, script
 *   's'                          supply u64le, unspent outputs u64le, unknown spends u64le
 *
 * txids are in internal order (explorers show them reversed). 'c' lists scripts whose balance is another one after the
 * block, in the order in which the block first names them.
 *
 * Rules, which are those of a node's set of unspent outputs:
 * - The genesis block's output cannot be spent: it is left out. So are outputs that begin with OP_RETURN or whose
 *   script is longer than 10,000 bytes.
 * - Reads see the state before the block, so outputs that are made and spent inside the block never reach the state.
 * - Two early coinbases have the txid of an older one whose output was still unspent (BIP 30: heights 91,842 and
 *   91,880). The new output takes the older one's place; its value is lost. Only coinbases can repeat, so only they
 *   are looked up.
 * - A spend of an output that was never seen (an index that begins in the middle of a chain) is counted and otherwise
 *   ignored. */
#include "sorex/bitcoin.h"
#include "sorex/indexer.h"
#include "sorex/map.h"

#define OP_RETURN 0x6a
#define SCRIPT_BYTES_MAX 10000

struct output {
    uint64_t value;
    struct sx_bytes script;
    bool live; /* spendable, and not spent in this block */
};

/* What one block does. */
struct index {
    struct sx_map txids;    /* of this block -> number of the first output */
    struct sx_map balances; /* script -> change of its balance */
    struct output *outputs;
    uint32_t output_count, output_cap;
    const uint8_t **spent; /* outpoints of older outputs, in the block */
    uint32_t spent_count, spent_cap;
    uint64_t supply, unspent, unknown;
};

static struct sx_key key; /* too large for the stack */

static bool spendable(const struct output *output)
{
    return output->script.len <= SCRIPT_BYTES_MAX && (output->script.len == 0 || output->script.data[0] != OP_RETURN);
}

static struct output output_decode(struct sx_bytes value)
{
    if (value.len < 8)
        sx_fail("utxo: a stored output is too short");
    return (struct output){sx_u64_get(value.data), sx_bytes_of(value.data + 8, value.len - 8), true};
}

static void credit(struct index *index, const struct output *output)
{
    sx_map_at(&index->balances, output->script)->value += (int64_t)output->value;
    index->supply += output->value;
    index->unspent++;
}

static void debit(struct index *index, const struct output *output)
{
    sx_map_at(&index->balances, output->script)->value -= (int64_t)output->value;
    index->supply -= output->value;
    index->unspent--;
}

static void key_output(struct sx_bytes txid, uint32_t number)
{
    sx_key_start(&key, 'u');
    sx_key_bytes(&key, txid);
    sx_key_u32(&key, number);
}

/* Twice the room when there is none left for one more. */
static void *grown(void *items, uint32_t count, uint32_t *cap, size_t size)
{
    if (count < *cap)
        return items;
    void *more = sx_alloc(size * *cap * 2);
    memcpy(more, items, size * count);
    *cap *= 2;
    return more;
}

static void spend(struct index *index, const struct sx_input *input)
{
    const struct sx_map_entry *tx = sx_map_find(&index->txids, sx_bytes_of(input->outpoint, 32));
    if (tx != NULL) {
        uint64_t number = (uint64_t)tx->value + sx_u32_get(input->outpoint + 32);
        if (number >= index->output_count || !index->outputs[number].live)
            sx_fail("utxo: an input spends what is not there");
        index->outputs[number].live = false;
        debit(index, &index->outputs[number]);
        return;
    }
    key_output(sx_bytes_of(input->outpoint, 32), sx_u32_get(input->outpoint + 32));
    struct sx_bytes value = sx_get(&key);
    if (value.len == 0) {
        index->unknown++;
        return;
    }
    struct output output = output_decode(value);
    debit(index, &output);
    index->spent = grown(index->spent, index->spent_count, &index->spent_cap, sizeof *index->spent);
    index->spent[index->spent_count++] = input->outpoint;
}

static void replace_repeated(struct index *index, const struct sx_tx *tx)
{
    for (uint32_t i = 0; i < tx->output_count; i++) {
        key_output(sx_bytes_of(tx->txid, 32), i);
        struct sx_bytes value = sx_get(&key);
        if (value.len == 0)
            continue;
        struct output old = output_decode(value);
        debit(index, &old);
    }
}

static void create(struct index *index, struct sx_tx *tx, bool unspendable)
{
    struct sx_output out;
    while (sx_tx_output(tx, &out)) {
        struct output output = {out.value, out.script, !unspendable};
        output.live = output.live && spendable(&output);
        if (output.live)
            credit(index, &output);
        index->outputs = grown(index->outputs, index->output_count, &index->output_cap, sizeof *index->outputs);
        index->outputs[index->output_count++] = output;
    }
}

static void write_outputs(const struct index *index)
{
    struct sx_buf value = {0};
    sx_buf_reserve(&value, 8 + SCRIPT_BYTES_MAX);
    for (uint32_t i = 0; i < index->spent_count; i++) {
        key_output(sx_bytes_of(index->spent[i], 32), sx_u32_get(index->spent[i] + 32));
        sx_put(&key, sx_bytes_of(NULL, 0));
    }
    for (uint32_t t = 0; t < index->txids.count; t++) {
        uint32_t first = (uint32_t)index->txids.entries[t].value;
        uint32_t end = t + 1 < index->txids.count ? (uint32_t)index->txids.entries[t + 1].value : index->output_count;
        for (uint32_t i = first; i < end; i++) {
            if (!index->outputs[i].live)
                continue;
            key_output(index->txids.entries[t].key, i - first);
            value.len = 0;
            sx_buf_u64(&value, index->outputs[i].value);
            sx_buf_bytes(&value, index->outputs[i].script);
            sx_put(&key, sx_buf_view(&value));
        }
    }
}

/* Balances, and the list of those that changed. */
static void write_balances(const struct index *index, uint32_t time)
{
    struct sx_buf changed = {0};
    uint32_t size = 12, count = 0;
    for (uint32_t i = 0; i < index->balances.count; i++)
        size += index->balances.entries[i].value == 0 ? 0 : 20 + index->balances.entries[i].key.len;
    sx_buf_reserve(&changed, size);
    sx_buf_u64(&changed, (uint64_t)time * 1000);
    sx_buf_u32(&changed, 0);
    for (uint32_t i = 0; i < index->balances.count; i++) {
        const struct sx_map_entry *entry = &index->balances.entries[i];
        if (entry->value == 0)
            continue;
        sx_key_start(&key, 'b');
        sx_key_bytes(&key, entry->key);
        uint64_t before = sx_get_u64(&key), after = before + (uint64_t)entry->value;
        if (after == 0)
            sx_put(&key, sx_bytes_of(NULL, 0));
        else
            sx_put_u64(&key, after);
        sx_buf_u64(&changed, before);
        sx_buf_u64(&changed, after);
        sx_buf_u32(&changed, entry->key.len);
        sx_buf_bytes(&changed, entry->key);
        count++;
    }
    sx_u32_put(changed.data + 8, count);
    sx_key_start(&key, 'c');
    sx_put(&key, sx_buf_view(&changed));
}

static void index_block(uint32_t height, struct sx_bytes raw)
{
    struct sx_block block;
    struct sx_tx tx;
    struct sx_input input;
    if (!sx_block_open(&block, raw))
        sx_fail("utxo: the entry is no Bitcoin block");

    sx_key_start(&key, 's');
    struct sx_bytes totals = sx_get(&key);
    struct index index = {.output_cap = block.tx_count * 2 + 4, .spent_cap = block.tx_count * 2 + 4};
    if (totals.len == 24) {
        index.supply = sx_u64_get(totals.data);
        index.unspent = sx_u64_get(totals.data + 8);
        index.unknown = sx_u64_get(totals.data + 16);
    }
    index.outputs = sx_alloc(sizeof *index.outputs * index.output_cap);
    index.spent = sx_alloc(sizeof *index.spent * index.spent_cap);
    uint8_t *txids = sx_alloc((size_t)32 * block.tx_count);
    sx_map_init(&index.txids, block.tx_count);
    sx_map_init(&index.balances, block.tx_count * 3);

    for (uint32_t n = 0; sx_block_next(&block, &tx); n++) {
        while (!tx.coinbase && sx_tx_input(&tx, &input))
            spend(&index, &input);
        memcpy(txids + 32 * n, tx.txid, 32);
        sx_map_at(&index.txids, sx_bytes_of(txids + 32 * n, 32))->value = index.output_count;
        if (tx.coinbase)
            replace_repeated(&index, &tx);
        create(&index, &tx, height == 0);
    }
    if (block.bad)
        sx_fail("utxo: the entry is no Bitcoin block");

    write_outputs(&index);
    write_balances(&index, block.time);
    struct sx_buf sums = {0};
    sx_buf_u64(&sums, index.supply);
    sx_buf_u64(&sums, index.unspent);
    sx_buf_u64(&sums, index.unknown);
    sx_key_start(&key, 's');
    sx_put(&key, sx_buf_view(&sums));
}
SOREX_INDEXER(index_block)

/* Script -> balance u64le. */
static void view_balance(uint32_t height, struct sx_bytes script, struct sx_buf *out)
{
    (void)height;
    sx_key_start(&key, 'b');
    sx_key_bytes(&key, script);
    sx_buf_u64(out, sx_get_u64(&key));
}
SOREX_VIEW("balance", view_balance)

/* Outpoint (txid 32 bytes in internal order, output number u32le) -> value u64le, script; nothing when there is no such
 * output. */
static void view_utxo(uint32_t height, struct sx_bytes outpoint, struct sx_buf *out)
{
    (void)height;
    if (outpoint.len != SX_OUTPOINT_BYTES)
        sx_fail("utxo: an outpoint has 36 bytes");
    sx_key_start(&key, 'u');
    sx_key_bytes(&key, outpoint);
    sx_buf_bytes(out, sx_get(&key));
}
SOREX_VIEW("utxo", view_utxo)

/* Nothing -> the record 'c' of the height. */
static void view_changed(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    (void)height;
    (void)input;
    sx_key_start(&key, 'c');
    sx_buf_bytes(out, sx_get(&key));
}
SOREX_VIEW("changed", view_changed)

/* Nothing -> the record 's'. */
static void view_supply(uint32_t height, struct sx_bytes input, struct sx_buf *out)
{
    (void)height;
    (void)input;
    sx_key_start(&key, 's');
    sx_buf_bytes(out, sx_get(&key));
}
SOREX_VIEW("supply", view_supply)
