//! Wasmtime's C API as one static library, with the hooks that it lacks: a limiter that tells "above the limit" from
//! "the host has no memory", resetting only the pages that were written, and demangled function names.

use std::ffi::{c_char, c_void};
use std::fmt::Write;

use wasmtime_c_api::wasmtime::{Enabled, Error, PoolingAllocationConfig, ResourceLimiter, Result, Store};
pub use wasmtime_c_api::*;

/// Limits of one store, in C: `struct sorex_wasmtime_limits`. The C side owns it.
#[repr(C)]
pub struct Limits {
    memory_bytes: u64,
    table_elements: u64,
    /// The last growth was within the limits, so a failure of it is the host's.
    granted: bool,
    /// Set when the host could not supply what was within the limits.
    host_failed: bool,
}

impl Limits {
    fn grant(&mut self, desired: usize, limit: u64, maximum: Option<usize>) -> bool {
        self.granted = desired as u64 <= limit && maximum.map_or(true, |max| desired <= max);
        self.granted
    }

    /// Wasmtime reports here both what the type forbids (the guest gets -1) and what the host could not do. The first comes
    /// without a grant. Were the second -1 too, a guest's result would depend on the machine's free memory.
    fn failed(&mut self, error: Error) -> Result<()> {
        if !std::mem::take(&mut self.granted) {
            return Ok(());
        }
        self.host_failed = true;
        Err(error)
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let limit = self.memory_bytes;
        Ok(self.grant(desired, limit, maximum))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.failed(error)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let limit = self.table_elements;
        Ok(self.grant(desired, limit, maximum))
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        self.failed(error)
    }
}

struct LimitsPointer(*mut Limits);
// A store is used by one thread at a time, and so is what hangs on it.
unsafe impl Send for LimitsPointer {}
unsafe impl Sync for LimitsPointer {}

impl LimitsPointer {
    fn get<'a>(&self) -> &'a mut Limits {
        unsafe { &mut *self.0 }
    }
}

// `wasmtime_store_t` keeps its only field private. It is repr(C), so that field is at its address.
const _: () = assert!(
    std::mem::size_of::<wasmtime_store_t>() == std::mem::size_of::<Store<WasmtimeStoreData>>()
        && std::mem::align_of::<wasmtime_store_t>() == std::mem::align_of::<Store<WasmtimeStoreData>>()
);

/// Makes `store` ask `limits` before every growth of a memory or table.
///
/// # Safety
/// `limits` stays at its place until the store is deleted. C reads and writes it only while the store runs nothing, or from a
/// host call: Wasmtime holds the reference only during one question.
#[no_mangle]
pub unsafe extern "C" fn sorex_wasmtime_store_limits(store: *mut wasmtime_store_t, limits: *mut Limits) {
    let store = unsafe { &mut *store.cast::<Store<WasmtimeStoreData>>() };
    let limits = LimitsPointer(limits);
    store.limiter(move |_| limits.get());
}

// As above, for the pool's settings.
const _: () = assert!(
    std::mem::size_of::<wasmtime_pooling_allocation_config_t>() == std::mem::size_of::<PoolingAllocationConfig>()
        && std::mem::align_of::<wasmtime_pooling_allocation_config_t>() == std::mem::align_of::<PoolingAllocationConfig>()
);

/// Lets a freed slot be reset page by page, only where it was written, instead of all that is kept resident.
///
/// # Safety
/// `pool` comes from `wasmtime_pooling_allocation_config_new`.
#[no_mangle]
pub unsafe extern "C" fn sorex_wasmtime_pool_scan(pool: *mut wasmtime_pooling_allocation_config_t) {
    let pool = unsafe { &mut *pool.cast::<PoolingAllocationConfig>() };
    pool.pagemap_scan(Enabled::Auto);
}

/// Whether the system can tell which pages were written (Linux 6.7 and later).
#[no_mangle]
pub extern "C" fn sorex_wasmtime_pool_scan_available() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

struct Cut<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let mut take = text.len().min(self.out.len() - self.len);
        while !text.is_char_boundary(take) {
            take -= 1;
        }
        self.out[self.len..self.len + take].copy_from_slice(&text.as_bytes()[..take]);
        self.len += take;
        if take == text.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

/// Writes the readable form of a mangled Rust or C++ name (any other name as it is) to `out`, cut to `cap` bytes, without a
/// NUL. Returns its length.
///
/// # Safety
/// `name` has `len` bytes, `out` has `cap`.
#[no_mangle]
pub unsafe extern "C" fn sorex_wasmtime_demangle(name: *const c_char, len: usize, out: *mut c_void, cap: usize) -> usize {
    let name = unsafe { std::slice::from_raw_parts(name.cast::<u8>(), len) };
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), cap) };
    let name = String::from_utf8_lossy(name);
    let mut cut = Cut { out, len: 0 };
    // A name that does not fit ends with an error from write!: what fitted is the result.
    if let Ok(rust) = rustc_demangle::try_demangle(&name) {
        let _ = write!(cut, "{rust:#}");
    } else if let Ok(cpp) = cpp_demangle::Symbol::new(name.as_bytes()) {
        match cpp.demangle() {
            Ok(text) => _ = cut.write_str(&text),
            Err(_) => _ = cut.write_str(&name),
        }
    } else {
        let _ = cut.write_str(&name);
    }
    cut.len
}
