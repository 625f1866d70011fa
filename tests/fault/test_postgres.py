"""A real PostgreSQL in trouble, seen through the whole program: connections cut after any byte (in COPY, in COMMIT, with its answer on the
way), no room, a row that somebody holds, tables that somebody altered. Backends and servers that die: tests/sink."""
import select, socket, threading
from fault import *

TIP = 3000


class Cutter:
    """Between the program and the server: cuts every connection after a number of bytes in one direction, as long as cuts are left."""

    def __init__(self, port, cuts, most):
        self.server, self.cuts, self.most, self.lock = port, cuts, most, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                cut = self.cuts > 0
                self.cuts -= cut
            # half of them die in the first bytes behind the start, the others anywhere
            limit = int(random.choice((random.uniform(0, 4000), random.uniform(0, self.most)))) if cut else None
            threading.Thread(target=self.carry, args=(client, random.randrange(2), limit), daemon=True).start()

    def carry(self, client, direction, limit):
        with client, socket.create_connection(("127.0.0.1", self.server)) as server:
            ends, left = (client, server), limit
            while True:
                for end in select.select(ends, [], [])[0]:
                    try:
                        data = end.recv(65536)
                        if not data:
                            return
                        if limit is not None and end is ends[direction]:
                            data, left = data[:left], left - len(data)
                        ends[1 - ends.index(end)].sendall(data)
                    except OSError:
                        return
                    if left is not None and left <= 0:
                        return

    def url(self):
        return f"host=127.0.0.1 port={self.port} user=sorex dbname=postgres"

    def close(self):
        self.listener.close()


def database(root, stack):
    pg = Postgres(root)
    stack.callback(pg.close)
    return pg


def sinks(root, url, **more):
    return [{"type": "postgres", "name": "pg", "url": url, **more}, {"type": "postgres", "name": "log", "url": url, "mode": "log"},
            {"type": "file", "path": str(root / "changes.jsonl")}]


def tables_equal(root, pg, file):
    """Rows, log and file say the same; nothing is there twice."""
    rows = engine_rows([file])
    equal(dict(pg.sql("select key, balance from balances")), {key: str(row["balance"]) for (_, key), row in rows.items()}, "rows")
    lines = (root / "changes.jsonl").read_text().splitlines()
    equal(pg.sql("select count(*), count(distinct (sequence, ordinal)) from sorex_changes"), [[str(len(lines))] * 2], "rows of the log")


def test_connections_cut_after_any_byte(root, stack):
    pg = database(root, stack)
    cutter = Cutter(pg.port, 1000 if LONG else 24, 400000)
    stack.callback(cutter.close)
    file = pipeline(root, group_ms=5, group_max="64 KiB", sinks=sinks(root, cutter.url()))
    turns = 0
    while cutter.cuts > 0:  # up and down until every cut was made
        sorex("run", file, "--until", TIP, timeout=300)
        tables_equal(root, pg, file)
        sorex("rollback", file, "--to", random.randrange(1, TIP))
        turns += 1
    sorex("run", file, "--until", TIP)
    tables_equal(root, pg, file)
    print(turns, "turns", flush=True)


def sink_of(file, name="pg"):
    return next((s for s in (status(file) or {}).get("sinks", []) if s["name"] == name), None)


def held_rows_are_waited_for(root, stack, what, table, name):
    pg = database(root, stack)
    file = pipeline(root, sinks=sinks(root, pg.url()))
    sorex("run", file, "--until", 1000)
    holder = subprocess.Popen([str(pg.bin / "psql"), "-X", "-q", "-A", "-t", "-d", pg.url()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(holder.kill)
    held = pg.sql(f"select count(*) from {table}")[0][0]
    holder.stdin.write(f"begin; select count(*) from (select 1 from {table} for update) held;\n")
    holder.stdin.flush()
    equal(holder.stdout.readline().strip(), held, f"{what} held")
    with Running(file, "--until", TIP, log=root / "log") as run:
        def waits():
            sink = sink_of(file, name)
            return sink if sink and sink["state"] == "retrying" else None
        sink = wait_for("status to name the lock", waits, 60)
        check("lock" in sink["why"], sink["why"])
        holder.stdin.write("rollback;\n")
        holder.stdin.flush()
        wait_for("the end of the run", lambda: not run.alive())
        equal(run.process.returncode, 0, "exit code")
    tables_equal(root, pg, file)


def test_a_held_cursor_is_waited_for(root, stack):
    held_rows_are_waited_for(root, stack, "cursors", "sorex_cursor", "log")


def test_held_rows_are_waited_for(root, stack):
    held_rows_are_waited_for(root, stack, "rows", "balances", "pg")


def test_no_room(root, stack):
    pg = database(root, stack)
    place = sub(root, "place")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True).returncode != 0:
        print("SKIPPED: a full tablespace (tmpfs cannot be mounted here)")
        return
    stack.callback(lambda: subprocess.run(["umount", "-l", str(place)], check=False))
    os.chown(place, pg.user.pw_uid, pg.user.pw_gid)
    pg.sql(f"create tablespace small location '{place}'")
    pg.sql("alter role sorex set default_tablespace = small")
    file = pipeline(root, sinks=sinks(root, pg.url()))
    with Running(file, "--until", TIP, log=root / "log") as run:
        def waits():
            check(run.alive(), run.text()[-1000:])
            return next((s for s in (sink_of(file), sink_of(file, "log")) if s and s["state"] == "retrying"), None)
        sink = wait_for("status to name the disk", waits)
        check("No space left" in sink["why"] or "could not extend" in sink["why"], sink["why"])
        subprocess.run(["mount", "-o", "remount,size=512m", str(place)], check=True)
        wait_for("the end of the run", lambda: not run.alive())
        equal(run.process.returncode, 0, "exit code")
    tables_equal(root, pg, file)


def test_altered_tables(root, stack):
    """A dropped column or table is made again; a type that the values do not fit stops that sink, with the row's name."""
    pg = database(root, stack)
    file = pipeline(root, sinks=sinks(root, pg.url()))
    sorex("run", file, "--until", 1000)
    pg.sql("alter table balances drop column balance")
    sorex("run", file, "--until", 1100)
    rows = {key: str(row["balance"]) for (_, key), row in engine_rows([file]).items()}
    got = {key: balance for key, balance in pg.sql("select key, balance from balances where balance is not null")}
    check(got and all(rows[key] == balance for key, balance in got.items()), "rows after a column was dropped")
    pg.sql("drop table balances")
    sorex("run", file, "--until", 1200)
    got = dict(pg.sql("select key, balance from balances"))
    rows = {key: str(row["balance"]) for (_, key), row in engine_rows([file]).items()}
    check(got and all(rows[key] == balance for key, balance in got.items()), "rows after the table was dropped")
    pg.sql("drop table balances")
    pg.sql("create table balances (key text primary key, balance boolean)")
    with Running(file, log=root / "log") as run:
        sink = wait_for("the sink to stop", lambda: next((s for s in [sink_of(file)] if s and s["state"] == "failed"), None))
        check("balances" in sink["why"] and "balance" in sink["why"], sink["why"])
        wait_for("the other sinks", lambda: status(file)["heights"]["durable"] == 14131 and sink_of(file, "log")["behind"] == 0)
    pg.sql("drop table balances")
    sorex("run", file, "--until", 14131)
    equal(sink_of(file)["behind"] if sink_of(file) else 0, 0, "behind, after the table was put right")


if __name__ == "__main__":
    main(test_connections_cut_after_any_byte, test_a_held_cursor_is_waited_for, test_held_rows_are_waited_for, test_no_room, test_altered_tables)
