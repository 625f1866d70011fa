#include "sim/guests.h"

#include "base/check.h"
#include "base/sha256.h"
#include "wasm/wasm.h"

/* Six writes a block, keys and values from the block's hashes and from what was there; sometimes in two flushes,
 * sometimes the same key twice, sometimes an empty value. Input at 0x1000: height, block; a key at 0x2004; the flush at
 * 0x3004. */
static const char indexer_text[] =
    "(module"
    " (import \"env\" \"__load_input\" (func $load_input (param i32)))"
    " (import \"env\" \"__get_len\" (func $get_len (param i32) (result i32)))"
    " (import \"env\" \"__get\" (func $get (param i32 i32)))"
    " (import \"env\" \"__flush\" (func $flush (param i32)))"
    " (memory (export \"memory\") 1)"
    " (func $key (param $k i32) (result i32) (local $c i32)"
    "  (i32.store (i32.const 0x2000) (i32.add (i32.rem_u (local.get $k) (i32.const 3)) (i32.const 1)))"
    "  (local.set $c (i32.add (local.get $k) (i32.const 97)))"
    "  (i32.store8 (i32.const 0x2004) (local.get $c))"
    "  (i32.store8 (i32.const 0x2005) (local.get $c))"
    "  (i32.store8 (i32.const 0x2006) (local.get $c))"
    "  (i32.const 0x2004))"
    " (func $branch_key (result i32)"
    "  (i32.store (i32.const 0x2000) (i32.const 1))"
    "  (i32.store8 (i32.const 0x2004) (i32.const 66))"
    "  (i32.const 0x2004))"
    " (func $write (param $i i32) (param $pos i32) (result i32) (local $key i32) (local $n i32) (local $p i32)"
    "  (local.set $key (call $key (i32.rem_u (i32.load8_u offset=0x1028 (local.get $i)) (i32.const 10))))"
    "  (i32.store (i32.const 0x2100) (i32.const 0))"
    "  (if (call $get_len (local.get $key)) (then (call $get (local.get $key) (i32.const 0x2100))))"
    "  (local.set $p (i32.load8_u offset=0x1008 (local.get $i)))"
    "  (local.set $n (i32.load (i32.const 0x2000)))"
    "  (i32.store8 (local.get $pos) (i32.const 10))"
    "  (i32.store8 offset=1 (local.get $pos) (local.get $n))"
    "  (i32.store offset=2 (local.get $pos) (i32.load (local.get $key)))"
    "  (local.set $pos (i32.add (i32.add (local.get $pos) (i32.const 2)) (local.get $n)))"
    "  (i32.store8 (local.get $pos) (i32.const 10))"
    "  (if (i32.eqz (i32.rem_u (local.get $p) (i32.const 5))) (then"
    "   (i32.store8 offset=1 (local.get $pos) (i32.const 0))"
    "   (return (i32.add (local.get $pos) (i32.const 2)))))"
    "  (i32.store8 offset=1 (local.get $pos) (i32.const 4))"
    "  (i32.store offset=2 (local.get $pos) (i32.add (i32.add (i32.mul (i32.load (i32.const 0x2100))"
    "   (i32.const 31)) (local.get $p)) (i32.const 1)))"
    "  (i32.add (local.get $pos) (i32.const 6)))"
    " (func $out (param $pos i32)"
    "  (i32.store (i32.const 0x3000) (i32.sub (local.get $pos) (i32.const 0x3004)))"
    "  (call $flush (i32.const 0x3004)))"
    " (func (export \"_start\") (local $i i32) (local $pos i32)"
    "  (call $load_input (i32.const 0x1000))"
    "  (if (i32.eq (i32.load8_u (i32.const 0x1050)) (i32.const 6)) (then unreachable))"
    "  (local.set $pos (i32.const 0x3004))"
    "  (loop $next"
    "   (local.set $pos (call $write (local.get $i) (local.get $pos)))"
    "   (if (i32.and (i32.eq (local.get $i) (i32.const 2)) (i32.load8_u (i32.const 0x102e))) (then"
    "    (call $out (local.get $pos)) (local.set $pos (i32.const 0x3004))))"
    "   (local.set $i (i32.add (local.get $i) (i32.const 1)))"
    "   (br_if $next (i32.lt_u (local.get $i) (i32.const 6))))"
    "  (i32.store (local.get $pos) (i32.const 0x0a42010a))"
    "  (i32.store8 offset=4 (local.get $pos) (i32.const 1))"
    "  (i32.store8 offset=5 (local.get $pos) (i32.load8_u (i32.const 0x1050)))"
    "  (call $out (i32.add (local.get $pos) (i32.const 6))))"
    /* The height, then every key's length and value, then the branch of the last block. */
    " (func (export \"sum\") (result i32) (local $k i32) (local $pos i32) (local $n i32)"
    "  (call $load_input (i32.const 0x1000))"
    "  (i32.store (i32.const 0x4004) (i32.load (i32.const 0x1000)))"
    "  (local.set $pos (i32.const 0x4008))"
    "  (loop $next"
    "   (local.set $n (call $get_len (call $key (local.get $k))))"
    "   (i32.store8 (local.get $pos) (local.get $n))"
    "   (call $get (call $key (local.get $k)) (i32.add (local.get $pos) (i32.const 1)))"
    "   (local.set $pos (i32.add (i32.add (local.get $pos) (i32.const 1)) (local.get $n)))"
    "   (local.set $k (i32.add (local.get $k) (i32.const 1)))"
    "   (br_if $next (i32.lt_u (local.get $k) (i32.const 10))))"
    "  (call $get (call $branch_key) (local.get $pos))"
    "  (i32.store (i32.const 0x4000) (i32.sub (i32.add (local.get $pos) (i32.const 1)) (i32.const 0x4004)))"
    "  (i32.const 0x4004)))";

/* Up to three changes a block on six rows of two tables: create what is not there, else update or delete. Pushed one by
 * one or returned as an array. Block hash at 0x200, the memory's own count at 0x300, a row's old value at 0x400, the
 * view's result at 0x1000, the text in the making behind 0x2004. */
static const char transform_head[] =
    "(module"
    " (import \"env\" \"__height\" (func $height (result i32)))"
    " (import \"env\" \"__block_hash\" (func $block_hash (result i32)))"
    " (import \"env\" \"__view\" (func $view (param i32 i32) (result i32)))"
    " (import \"env\" \"__get_state\" (func $get_state (param i32) (result i32)))"
    " (import \"env\" \"__set_state\" (func $set_state (param i32 i32) (result i32)))"
    " (import \"env\" \"__delete_state\" (func $delete_state (param i32) (result i32)))"
    " (import \"env\" \"__load\" (func $load (param i32)))"
    " (import \"env\" \"__push_cdc_message\" (func $push (param i32) (result i32)))"
    " (memory (export \"memory\") 1)"
    " (data (i32.const 0x100) \"\\02\\00\\00\\00r0\")"
    " (data (i32.const 0x120) \"\\03\\00\\00\\00sum\")"
    " (data (i32.const 0x130) \"\\00\\00\\00\\00\")"
    " (data (i32.const 0x410) \"\\04\\00\\00\\00\")"
    " (data (i32.const 0x800) \"{\\22header\\22:{\\22source\\22:\\22sim\\22,\\22block_height\\22:\")"
    " (data (i32.const 0x840) \",\\22block_hash\\22:\\22\")"
    " (data (i32.const 0x860) \"\\22},\\22payload\\22:{\\22operation\\22:\\22\")"
    " (data (i32.const 0x890) \"create\") (data (i32.const 0x898) \"update\") (data (i32.const 0x8a0) \"delete\")"
    " (data (i32.const 0x8b0) \"\\22,\\22table\\22:\\22t\")"
    " (data (i32.const 0x8c0) \"\\22,\\22key\\22:\\22r\")"
    " (data (i32.const 0x8d0) \"\\22,\\22before\\22:{\\22v\\22:\")"
    " (data (i32.const 0x8f0) \",\\22after\\22:{\\22v\\22:\")"
    " (data (i32.const 0x910) \"}}\")";

static const char transform_texts[] =
    " (global $out (mut i32) (i32.const 0))"
    " (global $count (mut i32) (i32.const 0))"
    " (func $h (param $i i32) (result i32) (i32.load8_u offset=0x200 (local.get $i)))"
    " (func $put (param $c i32)"
    "  (i32.store8 (global.get $out) (local.get $c)) (global.set $out (i32.add (global.get $out) (i32.const 1))))"
    " (func $puts (param $p i32)"
    "  (loop $next (if (i32.load8_u (local.get $p)) (then (call $put (i32.load8_u (local.get $p)))"
    "   (local.set $p (i32.add (local.get $p) (i32.const 1))) (br $next)))))"
    " (func $dec (param $v i32)"
    "  (if (i32.ge_u (local.get $v) (i32.const 10)) (then (call $dec (i32.div_u (local.get $v) (i32.const 10)))))"
    "  (call $put (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10)))))"
    " (func $digit (param $d i32)"
    "  (call $put (select (i32.add (local.get $d) (i32.const 48)) (i32.add (local.get $d) (i32.const 87))"
    "   (i32.lt_u (local.get $d) (i32.const 10)))))"
    " (func $hash (local $i i32)"
    "  (loop $next (call $digit (i32.shr_u (call $h (local.get $i)) (i32.const 4)))"
    "   (call $digit (i32.and (call $h (local.get $i)) (i32.const 15)))"
    "   (local.set $i (i32.add (local.get $i) (i32.const 1)))"
    "   (br_if $next (i32.lt_u (local.get $i) (i32.const 32)))))"
    " (func $change (param $operation i32) (param $row i32) (param $before i32) (param $old i32) (param $after i32)"
    "  (param $new i32)"
    "  (call $puts (i32.const 0x800)) (call $dec (call $height))"
    "  (call $puts (i32.const 0x840)) (call $hash)"
    "  (call $puts (i32.const 0x860)) (call $puts (local.get $operation))"
    "  (call $puts (i32.const 0x8b0)) (call $put (i32.add (i32.const 48) (i32.and (local.get $row) (i32.const 1))))"
    "  (call $puts (i32.const 0x8c0)) (call $put (i32.add (i32.const 48) (local.get $row)))"
    "  (if (local.get $before) (then (call $puts (i32.const 0x8d0)) (call $dec (local.get $old))"
    "   (call $put (i32.const 125))) (else (call $put (i32.const 34))))"
    "  (if (local.get $after) (then (call $puts (i32.const 0x8f0)) (call $dec (local.get $new))"
    "   (call $put (i32.const 125))))"
    "  (call $puts (i32.const 0x910)))";

static const char transform_code[] =
    " (func $row (param $j i32) (param $value i32) (local $row i32) (local $there i32) (local $before i32)"
    "  (local.set $row (i32.rem_u (call $h (i32.add (local.get $j) (i32.const 1))) (i32.const 6)))"
    "  (i32.store8 (i32.const 0x105) (i32.add (i32.const 48) (local.get $row)))"
    "  (local.set $there (call $get_state (i32.const 0x100)))"
    "  (if (local.get $there) (then (call $load (i32.const 0x400))))"
    "  (local.set $before (i32.or (global.get $always)"
    "   (i32.and (call $h (i32.add (local.get $j) (i32.const 24))) (i32.const 1))))"
    "  (i32.store (i32.const 0x414) (local.get $value))"
    "  (if (i32.eqz (local.get $there)) (then"
    "   (call $change (i32.const 0x890) (local.get $row) (i32.const 0) (i32.const 0) (i32.const 1) (local.get $value))"
    "   (drop (call $set_state (i32.const 0x100) (i32.const 0x410))) (return)))"
    "  (if (i32.eqz (i32.rem_u (call $h (i32.add (local.get $j) (i32.const 16))) (i32.const 3))) (then"
    "   (call $change (i32.const 0x8a0) (local.get $row) (local.get $before) (i32.load (i32.const 0x400)) (i32.const 0)"
    "    (i32.const 0))"
    "   (drop (call $delete_state (i32.const 0x100))) (return)))"
    "  (call $change (i32.const 0x898) (local.get $row) (local.get $before) (i32.load (i32.const 0x400)) (i32.const 1)"
    "   (local.get $value))"
    "  (drop (call $set_state (i32.const 0x100) (i32.const 0x410))))"
    " (func (export \"process_block\") (result i32) (local $n i32) (local $i i32) (local $sum i32) (local $j i32)"
    "  (local $push i32)"
    "  (drop (call $block_hash)) (call $load (i32.const 0x200))"
    "  (global.set $count (i32.add (global.get $count) (i32.const 1)))"
    "  (i32.store (i32.const 0x300) (i32.add (i32.load (i32.const 0x300)) (i32.const 1)))"
    "  (local.set $n (call $view (i32.const 0x120) (i32.const 0x130)))"
    "  (call $load (i32.const 0x1000))"
    "  (loop $next"
    "   (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 33))"
    "    (i32.load8_u offset=0x1000 (local.get $i))))"
    "   (local.set $i (i32.add (local.get $i) (i32.const 1)))"
    "   (br_if $next (i32.lt_s (local.get $i) (local.get $n))))"
    "  (local.set $sum (i32.add (local.get $sum) (i32.mul (i32.const 1000003)"
    "   (i32.add (i32.load (i32.const 0x300)) (i32.mul (i32.const 16) (global.get $count))))))"
    "  (local.set $sum (i32.add (local.get $sum) (global.get $version)))"
    "  (local.set $push (i32.and (call $h (i32.const 30)) (i32.const 1)))"
    "  (global.set $out (i32.const 0x2004))"
    "  (if (i32.eqz (local.get $push)) (then (call $put (i32.const 91))))"
    "  (block $done (loop $next"
    "   (br_if $done (i32.ge_u (local.get $j) (i32.and (call $h (i32.const 0)) (i32.const 3))))"
    "   (if (local.get $push) (then (global.set $out (i32.const 0x2004)))"
    "    (else (if (local.get $j) (then (call $put (i32.const 44))))))"
    "   (call $row (local.get $j) (i32.and (i32.const 0xfffff) (i32.add (local.get $sum)"
    "    (i32.mul (local.get $j) (i32.const 77)))))"
    "   (if (local.get $push) (then"
    "    (i32.store (i32.const 0x2000) (i32.sub (global.get $out) (i32.const 0x2004)))"
    "    (if (i32.lt_s (call $push (i32.const 0x2000)) (i32.const 0)) (then (return (i32.const -1))))))"
    "   (local.set $j (i32.add (local.get $j) (i32.const 1)))"
    "   (br $next)))"
    "  (if (i32.eq (i32.load8_u offset=0xfff (local.get $n)) (i32.const 7)) (then (return (i32.const -1))))"
    "  (if (i32.or (local.get $push) (i32.eqz (local.get $j))) (then (return (i32.const 0))))"
    "  (call $put (i32.const 93))"
    "  (i32.store (i32.const 0x2000) (i32.sub (global.get $out) (i32.const 0x2004)))"
    "  (i32.const 0x2000))";

/* Told of an undo it writes nonsense, which the host has to drop: the inverse is the host's. */
static const char rollback_text[] = " (func (export \"rollback\") (result i32)"
                                    "  (i32.store8 (i32.const 0x105) (i32.const 48))"
                                    "  (drop (call $set_state (i32.const 0x100) (i32.const 0x410)))"
                                    "  (i32.const 0))";

/* A row a block, whatever was there; after an undo that row is deleted, one key is set and one is deleted. */
static const char inverse_code[] =
    " (func $value (result i32) (i32.add (i32.or (call $h (i32.const 2)) (i32.shl (call $h (i32.const 3)) (i32.const 8)))"
    "  (global.get $version)))"
    " (func $name (param $i i32) (result i32) (local $row i32)"
    "  (local.set $row (i32.rem_u (call $h (local.get $i)) (i32.const 6)))"
    "  (i32.store8 (i32.const 0x105) (i32.add (i32.const 48) (local.get $row)))"
    "  (local.get $row))"
    " (func $emit (result i32)"
    "  (i32.store (i32.const 0x2000) (i32.sub (global.get $out) (i32.const 0x2004)))"
    "  (call $push (i32.const 0x2000)))"
    " (func (export \"process_block\") (result i32) (local $n i32)"
    "  (drop (call $block_hash)) (call $load (i32.const 0x200))"
    "  (local.set $n (call $view (i32.const 0x120) (i32.const 0x130)))"
    "  (call $load (i32.const 0x1000))"
    "  (if (i32.eq (i32.load8_u offset=0xfff (local.get $n)) (i32.const 7)) (then (return (i32.const -1))))"
    "  (global.set $out (i32.const 0x2004))"
    "  (call $change (i32.const 0x890) (call $name (i32.const 1)) (i32.const 0) (i32.const 0) (i32.const 1) (call $value))"
    "  (i32.store (i32.const 0x414) (call $value))"
    "  (drop (call $set_state (i32.const 0x100) (i32.const 0x410)))"
    "  (call $emit))"
    " (func (export \"rollback\") (result i32)"
    "  (drop (call $block_hash)) (call $load (i32.const 0x200))"
    "  (global.set $out (i32.const 0x2004))"
    "  (call $change (i32.const 0x8a0) (call $name (i32.const 1)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"
    "  (drop (call $name (i32.const 4)))"
    "  (i32.store (i32.const 0x414) (call $height))"
    "  (drop (call $set_state (i32.const 0x100) (i32.const 0x410)))"
    "  (drop (call $name (i32.const 5)))"
    "  (drop (call $delete_state (i32.const 0x100)))"
    "  (call $emit))";

static const char *const transform_names[GUESTS_KINDS] = {"engine", "guest", "kept", "inverse"};

const char *guests_name(enum guests_kind kind) { return transform_names[kind]; }

static enum sorex_status indexer_load(struct guests *guests, struct sorex_error *err)
{
    struct program *program = &guests->indexer;
    static char name[] = "indexer";
    guests->settings[0] = (struct program_settings){.name = name};
    *program = (struct program){.contract = PROGRAM_INDEXER, .settings = &guests->settings[0]};
    TRY(wasm_from_text(bytes_str(indexer_text), &program->wasm, err));
    sha256_once(buf_view(&program->wasm), program->module_hash);
    struct indexer_options options = {.name = name};
    return indexer_new(buf_view(&program->wasm), &options, &program->indexer, err);
}

static enum sorex_status transform_text(enum guests_kind kind, uint32_t version, struct buf *out,
                                        struct sorex_error *err)
{
    TRY(buf_append_str(out, transform_head, err));
    TRY(buf_printf(out, err, " (global $always i32 (i32.const %d)) (global $version i32 (i32.const %u))",
                   kind == GUESTS_GUEST, version));
    TRY(buf_append_str(out, transform_texts, err));
    TRY(buf_append_str(out, kind == GUESTS_INVERSE ? inverse_code : transform_code, err));
    if (kind != GUESTS_GUEST && kind != GUESTS_INVERSE)
        TRY(buf_append_str(out, rollback_text, err));
    return buf_append_str(out, ")", err);
}

static enum sorex_status transform_load(struct guests *guests, enum guests_kind kind, uint32_t version,
                                        struct sorex_error *err)
{
    struct program *program = &guests->transforms[kind][version];
    struct program_settings *settings = &guests->settings[1 + kind];
    static char names[GUESTS_KINDS][8];
    (void)memcpy(names[kind], transform_names[kind], strlen(transform_names[kind]) + 1);
    *settings = (struct program_settings){.name = names[kind]};
    settings->memory = kind == GUESTS_KEPT ? GUEST_MEMORY_KEPT : GUEST_MEMORY_FRESH;
    settings->before = kind == GUESTS_GUEST || kind == GUESTS_INVERSE ? BEFORE_GUEST : BEFORE_ENGINE;
    settings->inverse = kind == GUESTS_INVERSE ? INVERSE_GUEST : INVERSE_HOST;
    *program = (struct program){.contract = PROGRAM_TRANSFORM, .settings = settings};
    struct buf text = {0};
    enum sorex_status status = transform_text(kind, version, &text, err);
    if (status == SOREX_OK)
        status = wasm_from_text(buf_view(&text), &program->wasm, err);
    buf_deinit(&text);
    TRY(status);
    sha256_once(buf_view(&program->wasm), program->module_hash);
    struct transform_options options = {.name = settings->name, .memory = (enum guest_memory_mode)settings->memory};
    return transform_new(buf_view(&program->wasm), &options, &program->transform, err);
}

enum sorex_status guests_load(struct guests *guests, struct sorex_error *err)
{
    *guests = (struct guests){0};
    TRY(indexer_load(guests, err));
    for (int kind = 0; kind < GUESTS_KINDS; kind++)
        for (uint32_t version = 0; version < GUESTS_VERSIONS; version++)
            TRY(transform_load(guests, (enum guests_kind)kind, version, err));
    return SOREX_OK;
}

void guests_unload(struct guests *guests)
{
    for (int kind = 0; kind < GUESTS_KINDS; kind++)
        for (uint32_t version = 0; version < GUESTS_VERSIONS; version++)
            program_unload(&guests->transforms[kind][version]);
    program_unload(&guests->indexer);
}

enum sorex_status guests_register(struct program *program, struct store *store, bool adopt, struct sorex_error *err)
{
    return store_program(store, program->settings->name, program->module_hash, program->module_hash, adopt,
                         &program->stored, err);
}
