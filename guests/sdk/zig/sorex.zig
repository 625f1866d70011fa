//! Contract 4 in Zig: a guest that folds messages into a PostgreSQL. docs/abi/reducer.md has the contract.
//!
//!     const sorex = @import("sorex");
//!
//!     export fn schema() i32 {
//!         sorex.run("create table notes (id bigint primary key, note text not null)", .{});
//!         return 0;
//!     }
//!
//!     export fn reduce() i32 {
//!         sorex.run("insert into notes values ($1, $2)", .{ sorex.index(), sorex.payload() });
//!         return 0;
//!     }
//!
//! Functions without "try" in their names trap when PostgreSQL says no: the message is rejected with its error.
//! Parameters count from 1, columns from 0. Slices that are given live as long as the message.
const std = @import("std");

/// The contract.
pub const abi = struct {
    pub extern "sorex" fn message_len() i32;
    pub extern "sorex" fn message_read(dst: ?[*]u8, offset: i32, len: i32) i32;
    pub extern "sorex" fn message_index() i64;
    pub extern "sorex" fn message_time() i64;
    pub extern "sorex" fn message_author(dst: ?[*]u8, cap: i32) i32;
    pub extern "sorex" fn message_hash(dst: [*]u8) i32;
    pub extern "sorex" fn prepare(sql: [*]const u8, len: i32) i32;
    pub extern "sorex" fn bind_null(statement: i32, parameter: i32) i32;
    pub extern "sorex" fn bind_i64(statement: i32, parameter: i32, value: i64) i32;
    pub extern "sorex" fn bind_f64(statement: i32, parameter: i32, value: f64) i32;
    pub extern "sorex" fn bind_text(statement: i32, parameter: i32, bytes: [*]const u8, len: i32) i32;
    pub extern "sorex" fn bind_blob(statement: i32, parameter: i32, bytes: [*]const u8, len: i32) i32;
    pub extern "sorex" fn step(statement: i32) i32;
    pub extern "sorex" fn column_count(statement: i32) i32;
    pub extern "sorex" fn column_type(statement: i32, column: i32) i32;
    pub extern "sorex" fn column_i64(statement: i32, column: i32) i64;
    pub extern "sorex" fn column_f64(statement: i32, column: i32) f64;
    pub extern "sorex" fn column_len(statement: i32, column: i32) i32;
    pub extern "sorex" fn column_read(statement: i32, column: i32, dst: ?[*]u8, cap: i32) i32;
    pub extern "sorex" fn changes() i64;
    pub extern "sorex" fn reset(statement: i32) i32;
    pub extern "sorex" fn error_len() i32;
    pub extern "sorex" fn error_read(dst: ?[*]u8, cap: i32) i32;
    pub extern "sorex" fn sqlstate(dst: [*]u8) i32;
    pub extern "sorex" fn log(level: i32, line: [*]const u8, len: i32) void;
    pub extern "sorex" fn reject(code: i32, reason: [*]const u8, len: i32) void;
};

const gpa = std.heap.wasm_allocator;

fn must(result: i32) i32 {
    if (result < 0) @trap();
    return result;
}

/// Inside of the memory also where it is empty: an empty slice of Zig's points anywhere, which the host refuses.
fn alloc(len: i32) []u8 {
    const bytes = gpa.alloc(u8, @intCast(len + 1)) catch @trap();
    return bytes[0..@intCast(len)];
}

fn pointer(bytes: []const u8) [*]const u8 {
    return if (bytes.len > 0) bytes.ptr else "";
}

// ---- the message ----

pub fn payload() []const u8 {
    const text = alloc(abi.message_len());
    _ = abi.message_read(text.ptr, 0, @intCast(text.len));
    return text;
}

pub fn author() []const u8 {
    const text = alloc(abi.message_author(null, 0));
    _ = abi.message_author(text.ptr, @intCast(text.len));
    return text;
}

pub fn index() i64 {
    return abi.message_index();
}

/// Milliseconds since 1970.
pub fn time() i64 {
    return abi.message_time();
}

pub fn hash() [32]u8 {
    var out: [32]u8 = undefined;
    _ = must(abi.message_hash(&out));
    return out;
}

// ---- the end ----

/// The message is rejected with this code, which is more than 0.
pub fn reject(code: i32, reason: []const u8) noreturn {
    abi.reject(code, reason.ptr, @intCast(reason.len));
    unreachable;
}

pub const Level = enum(i32) { trace, debug, info, warning, err };

pub fn log(level: Level, line: []const u8) void {
    abi.log(@intFromEnum(level), line.ptr, @intCast(line.len));
}

// ---- statements ----

pub const Step = enum { row, done, failed };

/// Bytes that are a bytea, not text.
pub const Blob = struct { bytes: []const u8 };

pub const Statement = struct {
    handle: i32,

    /// Text, an integer, a float, a Blob, or null; an optional one of them.
    pub fn bind(s: Statement, parameter: i32, value: anytype) void {
        const T = @TypeOf(value);
        _ = must(switch (@typeInfo(T)) {
            .null => abi.bind_null(s.handle, parameter),
            .optional => return if (value) |v| s.bind(parameter, v) else s.bind(parameter, null),
            .int, .comptime_int => abi.bind_i64(s.handle, parameter, @intCast(value)),
            .bool => abi.bind_i64(s.handle, parameter, @intFromBool(value)),
            .float, .comptime_float => abi.bind_f64(s.handle, parameter, value),
            else => if (T == Blob)
                abi.bind_blob(s.handle, parameter, pointer(value.bytes), @intCast(value.bytes.len))
            else blk: {
                const slice: []const u8 = value;
                break :blk abi.bind_text(s.handle, parameter, pointer(slice), @intCast(slice.len));
            },
        });
    }

    /// All parameters, from a tuple.
    pub fn bind_all(s: Statement, values: anytype) void {
        inline for (values, 1..) |value, i| s.bind(i, value);
    }

    /// After `failed` the transaction has failed too, until a ROLLBACK TO a savepoint.
    pub fn tryStep(s: Statement) Step {
        const result = abi.step(s.handle);
        return if (result < 0) .failed else if (result == 1) .row else .done;
    }

    /// Whether there is a row.
    pub fn step(s: Statement) bool {
        return must(abi.step(s.handle)) == 1;
    }

    pub fn reset(s: Statement) void {
        _ = must(abi.reset(s.handle));
    }

    /// To the end, without looking at rows.
    pub fn run(s: Statement) void {
        _ = s.step();
        s.reset();
    }

    pub fn is_null(s: Statement, column: i32) bool {
        return must(abi.column_type(s.handle, column)) == 0;
    }

    pub fn int(s: Statement, column: i32) ?i64 {
        return if (s.is_null(column)) null else abi.column_i64(s.handle, column);
    }

    pub fn float(s: Statement, column: i32) ?f64 {
        return if (s.is_null(column)) null else abi.column_f64(s.handle, column);
    }

    /// A copy: text of any type, or the bytes of a bytea.
    pub fn text(s: Statement, column: i32) ?[]const u8 {
        if (s.is_null(column)) return null;
        const out = alloc(must(abi.column_len(s.handle, column)));
        _ = must(abi.column_read(s.handle, column, out.ptr, @intCast(out.len)));
        return out;
    }
};

pub fn prepare(sql: []const u8) Statement {
    return .{ .handle = must(abi.prepare(sql.ptr, @intCast(sql.len))) };
}

/// Runs a statement to its end.
pub fn run(sql: []const u8, values: anytype) void {
    const s = prepare(sql);
    s.bind_all(values);
    s.run();
}

/// Runs a statement up to its first row, which it has to have.
pub fn query(sql: []const u8, values: anytype) Statement {
    const s = prepare(sql);
    s.bind_all(values);
    if (!s.step()) @trap();
    return s;
}

/// Rows that the last statement wrote, or gave.
pub fn changes() i64 {
    return abi.changes();
}
