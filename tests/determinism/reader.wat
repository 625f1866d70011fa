;; Writes the key k once, at height 0; after that every block reads it and writes what it read, with the height, as the key o.
(module
 (import "env" "__load_input" (func $load_input (param i32)))
 (import "env" "__get_len" (func $get_len (param i32) (result i32)))
 (import "env" "__get" (func $get (param i32 i32)))
 (import "env" "__flush" (func $flush (param i32)))
 (memory (export "memory") 32)
 (data (i32.const 0) "\01\00\00\00k")                    ;; the key to read, behind its length
 (data (i32.const 16) "\0d\00\00\00\0a\01k\0a\08constant") ;; the first message: k -> constant
 (data (i32.const 64) "\11\00\00\00\0a\01o\0a\0c")         ;; the others: o -> 8 bytes read, 4 bytes of height
 (func (export "_start")
  (call $load_input (i32.const 0x1000))
  (if (i32.eqz (call $get_len (i32.const 4)))
   (then (call $flush (i32.const 20)))
   (else
    (call $get (i32.const 4) (i32.const 73))
    (i32.store (i32.const 81) (i32.load (i32.const 0x1000)))
    (call $flush (i32.const 68))))))
