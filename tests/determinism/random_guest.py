"""A random indexer as WebAssembly text: arithmetic on integers and floats (NaN, infinities and their bits included), loads and stores,
reads of its own state, and a flush at the end. Valid by construction, and it does not trap: divisions are of floats, addresses masked."""
import random

INTEGER = ["i32.add", "i32.sub", "i32.mul", "i32.xor", "i32.and", "i32.or", "i32.rotl", "i32.shr_u", "i32.shr_s"]
FLOAT = ["f64.add", "f64.sub", "f64.mul", "f64.div", "f64.min", "f64.max", "f64.copysign"]
UNARY = ["f64.sqrt", "f64.neg", "f64.ceil", "f64.trunc", "f64.nearest", "f64.abs"]


def integer(r, depth):
    choice = r.randrange(7) if depth > 0 else r.randrange(2)
    if choice == 0:
        return f"(i32.const {r.getrandbits(32)})"
    if choice == 1:
        return "(local.get $x)"
    if choice in (2, 3):
        return f"({r.choice(INTEGER)} {integer(r, depth - 1)} {integer(r, depth - 1)})"
    if choice == 4:
        return f"(i32.load (i32.and {integer(r, depth - 1)} (i32.const 0x7ffc)))"
    if choice == 5:  # the bits of a float: a NaN's payload is visible here
        return f"(i32.wrap_i64 (i64.shr_u (i64.reinterpret_f64 {double(r, depth - 1)}) (i64.const {r.randrange(64)})))"
    return f"(i32.trunc_sat_f64_s {double(r, depth - 1)})"


def double(r, depth):
    choice = r.randrange(6) if depth > 0 else 0
    if choice == 0:
        return r.choice(["(f64.const nan)", "(f64.const inf)", "(f64.const -0)", "(f64.const 1e308)", "(f64.const 0.1)",
                         "(f64.convert_i32_s (local.get $x))", "(f64.const -nan:0x4000000000001)"])
    if choice == 1:
        return f"({r.choice(UNARY)} {double(r, depth - 1)})"
    if choice == 2:
        return f"(f64.promote_f32 (f32.demote_f64 {double(r, depth - 1)}))"
    if choice == 3:
        return f"(f64.reinterpret_i64 (i64.mul (i64.extend_i32_s {integer(r, depth - 1)}) (i64.const 0x123456789abcdef)))"
    return f"({r.choice(FLOAT)} {double(r, depth - 1)} {double(r, depth - 1)})"


def statement(r):
    if r.random() < 0.3:  # a key of 4 bytes at 0x8004, its length in front; its value moves x
        return ("(i32.store (i32.const 0x8000) (i32.const 4))"
                f"(i32.store (i32.const 0x8004) (i32.and {integer(r, 1)} (i32.const 15)))"
                "(local.set $x (i32.add (local.get $x) (call $get_len (i32.const 0x8004))))"
                "(call $get (i32.const 0x8004) (i32.const 0x8100))"
                "(local.set $x (i32.xor (local.get $x) (i32.load (i32.const 0x8100))))")
    if r.random() < 0.5:
        return f"(i32.store (i32.and {integer(r, 2)} (i32.const 0x7ffc)) {integer(r, 4)})"
    return f"(local.set $x {integer(r, 4)})"


def pair(r, at):
    """0A 04 key, 0A 08 value at the address: 16 bytes."""
    return (f"(i32.store16 (i32.const {at}) (i32.const 0x040a))"
            f"(i32.store (i32.const {at + 2}) (i32.and {integer(r, 2)} (i32.const 15)))"
            f"(i32.store16 (i32.const {at + 6}) (i32.const 0x080a))"
            f"(i32.store (i32.const {at + 8}) {integer(r, 4)})"
            f"(f32.store (i32.const {at + 12}) (f32.demote_f64 {double(r, 3)}))")


def module(seed):
    r = random.Random(seed)
    body = "\n".join(statement(r) for _ in range(r.randrange(5, 30)))
    pairs = r.randrange(1, 6)
    flush = "".join(pair(r, 0x9004 + 16 * i) for i in range(pairs))
    return f"""(module
 (import "env" "__host_len" (func $host_len (result i32)))
 (import "env" "__load_input" (func $load_input (param i32)))
 (import "env" "__get_len" (func $get_len (param i32) (result i32)))
 (import "env" "__get" (func $get (param i32 i32)))
 (import "env" "__flush" (func $flush (param i32)))
 (memory (export "memory") 32)
 (func (export "_start") (local $x i32)
  (call $load_input (i32.const 0x10000))
  (local.set $x (i32.xor (call $host_len) (i32.load (i32.const 0x10028))))
  (memory.copy (i32.const 0) (i32.const 0x10000) (i32.const 0x100))
{body}
  (i32.store (i32.const 0x9000) (i32.const {16 * pairs}))
  {flush}
  (call $flush (i32.const 0x9004)))
 (func (export "asked") (result i32)
  (i32.store (i32.const 0) (i32.const 0))
  (i32.const 4)))
"""
