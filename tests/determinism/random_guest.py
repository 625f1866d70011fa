"""A random indexer as WebAssembly text: integers, floats (NaN, infinities and their bits), vectors, relaxed vectors, loads and stores,
memory growth beyond its limit, branches and loops that depend on its own state, many keys, several flushes. Every instruction of the
table below is in every guest. It is valid by construction and does not trap: divisors are odd, addresses masked, loops counted."""
import random

# Operands' types of what gives each type; the result is the key.
OPERATIONS = {
    "i32": [(2, "i32.add i32.sub i32.mul i32.xor i32.and i32.or i32.rotl i32.shr_u i32.shr_s i32.lt_s i32.gt_u", "i32"),
            (1, "i32.clz i32.ctz i32.popcnt i32.eqz i32.extend8_s i32.extend16_s", "i32"),
            (1, "i32.wrap_i64 i64.eqz", "i64"), (2, "i64.lt_u i64.ge_s i64.ne", "i64"),
            (1, "i32.reinterpret_f32 i32.trunc_sat_f32_s i32.trunc_sat_f32_u", "f32"), (2, "f32.lt f32.ne f32.ge", "f32"),
            (1, "i32.trunc_sat_f64_s i32.trunc_sat_f64_u", "f64"), (2, "f64.eq f64.le f64.gt", "f64"),
            (1, "i32x4.bitmask i8x16.all_true v128.any_true", "v128")],
    "i64": [(2, "i64.add i64.sub i64.mul i64.xor i64.rotr i64.shl i64.shr_s", "i64"), (1, "i64.clz i64.popcnt i64.extend32_s", "i64"),
            (1, "i64.extend_i32_s i64.extend_i32_u", "i32"), (1, "i64.reinterpret_f64 i64.trunc_sat_f64_s i64.trunc_sat_f64_u", "f64"),
            (1, "i64.trunc_sat_f32_s", "f32")],
    "f32": [(2, "f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign", "f32"),
            (1, "f32.sqrt f32.neg f32.abs f32.ceil f32.floor f32.trunc f32.nearest", "f32"), (1, "f32.demote_f64", "f64"),
            (1, "f32.convert_i32_s f32.convert_i32_u f32.reinterpret_i32", "i32"), (1, "f32.convert_i64_s f32.convert_i64_u", "i64")],
    "f64": [(2, "f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign", "f64"),
            (1, "f64.sqrt f64.neg f64.abs f64.ceil f64.floor f64.trunc f64.nearest", "f64"), (1, "f64.promote_f32", "f32"),
            (1, "f64.convert_i32_s", "i32"), (1, "f64.convert_i64_s f64.convert_i64_u f64.reinterpret_i64", "i64")],
    "v128": [(2, "f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax f64x2.add f64x2.mul f64x2.div "
                 "f64x2.min f64x2.max f64x2.pmin i8x16.swizzle i8x16.add_sat_s i16x8.q15mulr_sat_s i32x4.dot_i16x8_s i32x4.mul "
                 "i64x2.mul f32x4.lt f64x2.ne v128.xor v128.andnot", "v128"),
             (1, "f32x4.sqrt f32x4.nearest f64x2.sqrt f64x2.ceil i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f64x2_u_zero "
                 "f32x4.convert_i32x4_u f32x4.demote_f64x2_zero f64x2.promote_low_f32x4 i8x16.popcnt v128.not", "v128"),
             (2, "i8x16.relaxed_swizzle f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min f64x2.relaxed_max "
                 "i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s", "v128"),
             (1, "i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u i32x4.relaxed_trunc_f64x2_s_zero", "v128"),
             (3, "f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd v128.bitselect "
                 "i8x16.relaxed_laneselect i32x4.relaxed_laneselect i32x4.relaxed_dot_i8x16_i7x16_add_s", "v128"),
             (1, "i32x4.splat i8x16.splat", "i32"), (1, "f32x4.splat", "f32"), (1, "f64x2.splat", "f64"), (1, "i64x2.splat", "i64")],
}
LOCALS = {"i32": "$x", "i64": "$y", "f32": "$f", "f64": "$d", "v128": "$v"}
FLOATS = ["nan", "-nan", "inf", "-inf", "0", "-0", "0.1", "1e30", "-1e-40", "2147483648", "3.5"]
CONSTANTS = {
    "i32": lambda r: f"(i32.const {r.getrandbits(32)})",
    "i64": lambda r: f"(i64.const {r.getrandbits(64)})",
    "f32": lambda r: f"(f32.const {r.choice(FLOATS + ['nan:0x200001', '-nan:0x1'])})",
    "f64": lambda r: f"(f64.const {r.choice(FLOATS + ['nan:0x4000000000001', '-nan:0x1', '1e308'])})",
    "v128": lambda r: f"(v128.const i32x4 {' '.join(str(r.getrandbits(32)) for _ in range(4))})",
}
LOADS = {"i32": "i32.load i32.load8_s i32.load16_u", "i64": "i64.load i64.load32_s", "f32": "f32.load", "f64": "f64.load",
         "v128": "v128.load v128.load32_splat v128.load8x8_s"}


def address(r):
    return f"(i32.and {value(r, 'i32', 1)} (i32.const 0x7ff0))"


def value(r, kind, depth):
    """An expression of the type."""
    if depth == 0 or r.random() < 0.1:
        return CONSTANTS[kind](r) if r.random() < 0.4 else f"(local.get {LOCALS[kind]})"
    choice = r.random()
    if choice < 0.1:
        return f"({r.choice(LOADS[kind].split())} {address(r)})"
    if choice < 0.15:
        choices = " ".join(value(r, part, depth - 1) for part in (kind, kind))
        return f"(select {choices} {value(r, 'i32', 1)})" if kind != "v128" else value(r, kind, depth - 1)
    if choice < 0.2 and kind == "i32":
        return f"(i32.{r.choice(['div_u', 'rem_u', 'rem_s'])} {value(r, kind, depth - 1)} (i32.or (i32.const 1) {value(r, kind, 1)}))"
    count, names, operand = r.choice(OPERATIONS[kind])
    return f"({r.choice(names.split())} {' '.join(value(r, operand, depth - 1) for _ in range(count))})"


def block(r, depth, count):
    return "\n".join(statement(r, depth) for _ in range(count))


def statement(r, depth):
    kind = r.choice(list(LOCALS))
    choice = r.randrange(14 if depth > 0 else 8)
    if choice <= 2:
        return f"(local.set {LOCALS[kind]} {value(r, kind, 4)})"
    if choice == 3:
        return f"({kind}.store {address(r)} {value(r, kind, 4)})"
    if choice == 4:  # its own state moves it
        return f"(local.set $x (i32.xor (local.get $x) (call $read (i32.and {value(r, 'i32', 1)} (i32.const 0xff)))))"
    if choice == 5:
        return f"(call $put (i32.and {value(r, 'i32', 2)} (i32.const 0xff)) {address(r)} {value(r, 'i32', 2)})"
    if choice == 6:  # in pages; the limit is met soon, and -1 is a value like any other
        return f"(local.set $x (i32.add (local.get $x) (memory.grow (i32.and {value(r, 'i32', 1)} (i32.const 7)))))"
    if choice == 7:
        return r.choice(["(local.set $x (i32.add (local.get $x) (i32.mul (memory.size) (i32.const 77777))))",
                         f"(memory.copy {address(r)} {address(r)} (i32.const {r.randrange(256)}))",
                         f"(memory.fill {address(r)} {value(r, 'i32', 1)} (i32.const {r.randrange(64)}))"])
    if choice <= 9:
        return f"(if {value(r, 'i32', 2)} (then {block(r, depth - 1, 2)}) (else {block(r, depth - 1, 2)}))"
    if choice == 10:
        return (f"(local.set $n{depth} (i32.and {value(r, 'i32', 1)} (i32.const 7)))"
                f"(loop $again{depth} {block(r, depth - 1, 2)}"
                f"(br_if $again{depth} (i32.ge_s (local.tee $n{depth} (i32.sub (local.get $n{depth}) (i32.const 1))) (i32.const 0))))")
    if choice == 11:
        return (f"(block $c{depth} (block $b{depth} (block $a{depth} (br_table $a{depth} $b{depth} $c{depth} "
                f"(i32.and {value(r, 'i32', 1)} (i32.const 3)))) {block(r, depth - 1, 1)}) {block(r, depth - 1, 1)})")
    if choice == 12:
        return f"(local.set $x (call_indirect (type $unary) {value(r, 'i32', 2)} (i32.and {value(r, 'i32', 1)} (i32.const 3))))"
    return "(call $send)"


def sample(r):
    """Every instruction of the table once, in some order, on whatever the locals hold; the results go into the state as they are."""
    forms = [(result, name, operand, count) for result, rows in OPERATIONS.items() for count, names, operand in rows for name in names.split()]
    r.shuffle(forms)
    stores = [f"({result}.store (i32.const {0x4000 + 16 * i}) ({name} {' '.join(value(r, operand, 1) for _ in range(count))}))"
              for i, (result, name, operand, count) in enumerate(forms)]
    puts = [f"(call $put (i32.const {0x300 + i}) (i32.const {at}) (i32.const 63))"
            for i, at in enumerate(range(0x4000, 0x4000 + 16 * len(forms), 63))]
    return "\n".join(stores + puts)


def module(seed):
    r = random.Random(seed)
    body = block(r, 2, r.randrange(10, 30))
    scatter = r.getrandbits(16) | 1
    functions = "\n".join(f"(func $f{i} (param $x i32) (result i32) (local $y i64) (local $f f32) (local $d f64) (local $v v128)"
                          f" {value(r, 'i32', 4)})" for i in range(4))
    return f"""(module ;; seed {seed}
 (type $unary (func (param i32) (result i32)))
 (import "env" "__host_len" (func $host_len (result i32)))
 (import "env" "__load_input" (func $load_input (param i32)))
 (import "env" "__get_len" (func $get_len (param i32) (result i32)))
 (import "env" "__get" (func $get (param i32 i32)))
 (import "env" "__flush" (func $flush (param i32)))
 (memory (export "memory") 64)
 (table 4 funcref)
 (elem (i32.const 0) $f0 $f1 $f2 $f3)
 (global $end (mut i32) (i32.const 0x20000))
 {functions}
 ;; Length and first bytes of a key's value; a key has 1 to 4 bytes.
 (func $read (param $key i32) (result i32)
  (i32.store (i32.const 0x8000) (i32.add (i32.const 1) (i32.and (local.get $key) (i32.const 3))))
  (i32.store (i32.const 0x8004) (local.get $key))
  (call $get (i32.const 0x8004) (i32.const 0x8100))
  (i32.add (call $get_len (i32.const 0x8004)) (i32.load (i32.const 0x8100))))
 ;; Adds a pair to the message: the value is 0 to 63 bytes of memory.
 (func $put (param $key i32) (param $from i32) (param $len i32) (local $n i32)
  (local.set $n (i32.add (i32.const 1) (i32.and (local.get $key) (i32.const 3))))
  (local.set $len (i32.and (local.get $len) (i32.const 63)))
  (i32.store8 (global.get $end) (i32.const 0x0a))
  (i32.store8 offset=1 (global.get $end) (local.get $n))
  (i32.store offset=2 (global.get $end) (local.get $key))
  (global.set $end (i32.add (global.get $end) (i32.add (i32.const 2) (local.get $n))))
  (i32.store8 (global.get $end) (i32.const 0x0a))
  (i32.store8 offset=1 (global.get $end) (local.get $len))
  (memory.copy (i32.add (global.get $end) (i32.const 2)) (local.get $from) (local.get $len))
  (global.set $end (i32.add (global.get $end) (i32.add (i32.const 2) (local.get $len)))))
 (func $send
  (i32.store (i32.const 0x1fffc) (i32.sub (global.get $end) (i32.const 0x20000)))
  (call $flush (i32.const 0x20000))
  (global.set $end (i32.const 0x20000)))
 (func (export "_start") (local $x i32) (local $y i64) (local $f f32) (local $d f64) (local $v v128) (local $n1 i32) (local $n2 i32)
  (call $load_input (i32.const 0x100000))
  (local.set $x (i32.xor (call $host_len) (i32.load (i32.const 0x100028))))
  (memory.copy (i32.const 0) (i32.const 0x100000) (i32.const 0x100))
{body}
{sample(r)}
  (local.set $n1 (i32.const {r.randrange(10, 150)}))
  (loop $many
   (call $put (i32.and (i32.mul (local.get $n1) (i32.const {scatter})) (i32.const 0xfff)) (i32.and (local.get $x) (i32.const 0x7ff0)) (local.get $n1))
   (local.set $x (i32.add (i32.rotl (local.get $x) (i32.const 5)) (call $read (i32.and (local.get $x) (i32.const 0xfff)))))
   (br_if $many (local.tee $n1 (i32.sub (local.get $n1) (i32.const 1)))))
  (call $send))
 ;; A view: what 64 keys hold, in one number.
 (func (export "asked") (result i32) (local $i i32) (local $x i32)
  (loop $each
   (local.set $x (i32.xor (i32.rotl (local.get $x) (i32.const 7)) (call $read (local.get $i))))
   (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
  (i32.store (i32.const 0) (i32.const 4))
  (i32.store (i32.const 4) (local.get $x))
  (i32.const 4)))
"""
