// PGlite in Node, as a rival: a database in memory, the same statements. It is asked by lines on standard input ("inserts 10000") and
// answers each with a rate. Prepared statements go as messages of the protocol, Bind, Execute and Sync at once: query() would parse and
// describe every time. By execProtocol, which gives the results as values; those named "raw_" by execProtocolRawSync, the fastest that its
// interface has, which leaves the answers as bytes.
//
//     node pglite.mjs FOLDER-OF-PGLITE
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { PGlite } = await import(pathToFileURL(`${process.argv[2]}/dist/index.js`));
const started = performance.now();
const db = new PGlite();
await db.waitReady;
const openMs = performance.now() - started;

const message = (type, ...parts) => {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const text = (value) => Buffer.from(`${value}\0`);
const int16 = (value) => { const b = Buffer.alloc(2); b.writeInt16BE(value); return b; };
const int32 = (value) => { const b = Buffer.alloc(4); b.writeInt32BE(value); return b; };
const int64 = (value) => { const b = Buffer.alloc(8); b.writeBigInt64BE(BigInt(value)); return b; };
const sync = message('S');
const query = (sql) => message('Q', text(sql));
const parse = (name, sql) => message('P', text(name), text(sql), int16(0));
// All parameters and results in binary format.
const execute = (name, ...values) => Buffer.concat([
  message('B', text(''), text(name), int16(1), int16(1), int16(values.length),
    ...values.flatMap((value) => [int32(value.length), value]), int16(1), int16(1)),
  message('E', text(''), int32(0)), sync]);

// Whether an answer holds an error.
const failed = (answer) => {
  for (let at = 0; at + 5 <= answer.length;) {
    if (answer[at] === 0x45) return true;
    at += 1 + new DataView(answer.buffer, answer.byteOffset + at + 1, 4).getInt32(0);
  }
  return false;
};
const raw = db.execProtocolRawSync.bind(db);
const wrong = () => { throw new Error('a statement ended otherwise than it must'); };
const must = (bytes, fails = false) => {
  if (failed(raw(bytes)) !== fails) wrong();
};
const mustParse = async (bytes, fails = false) => {
  const { messages } = await db.execProtocol(bytes, { throwOnError: false });
  if (messages.some((one) => one.name === 'error') !== fails) wrong();
};

await db.exec(`create table t(id int primary key, a text, b bigint);
  create table u as select g as id, 'row ' || g as a, g * 7::bigint as b from generate_series(1, 50000) g;
  alter table u add primary key (id); create table c(id int, a text, b bigint)`);
await db.exec('vacuum analyze u');
must(Buffer.concat([parse('i', 'insert into t values ($1, $2, $3)'), parse('s', 'select a, b from u where id = $1'), sync]));

let id = 0;
const timed = (count, work) => {
  const start = performance.now();
  for (let i = 0; i < count; i++) work(i);
  return count / ((performance.now() - start) / 1000);
};
const timedParsed = async (count, work) => {
  const start = performance.now();
  for (let i = 0; i < count; i++) await work(i);
  return count / ((performance.now() - start) / 1000);
};
const insertion = () => {
  id += 1;
  return execute('i', int32(id), Buffer.from(`row ${id}`), int64(id * 7));
};
const selection = (i) => execute('s', int32(1 + (i * 7919) % 50000));
const works = {
  open: () => openMs,
  resident: () => process.memoryUsage().rss / (1 << 20),
  inserts: (count) => {
    must(query('truncate t'));
    return timedParsed(count, () => mustParse(insertion()));
  },
  selects: (count) => timedParsed(count, (i) => mustParse(selection(i))),
  ones: (count) => timedParsed(count, () => mustParse(query('select 1'))),
  failures: (count) => timedParsed(count, () => mustParse(query('select 1/0'), true)),
  raw_inserts: (count) => {
    must(query('truncate t'));
    return timed(count, () => must(insertion()));
  },
  raw_selects: (count) => timed(count, (i) => must(selection(i))),
  raw_ones: (count) => timed(count, () => must(query('select 1'))),
  raw_failures: (count) => timed(count, () => must(query('select 1/0'), true)),
  copies: async (count) => {
    let rows = '';
    for (let i = 0; i < count; i++) rows += `${i},row number ${i},${i * 13}\n`;
    await db.exec('truncate c');
    const blob = new Blob([rows]);
    const start = performance.now();
    await db.query("copy c from '/dev/blob' (format csv)", [], { blob });
    return count / ((performance.now() - start) / 1000);
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, count] = line.split(' ');
  process.stdout.write(`${await works[name](Number(count))}\n`);
}
