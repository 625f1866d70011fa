"""Real clients at PostgreSQL's port: psql, pgbench, psycopg, JDBC. Each gets forks of one small database (states.h)."""
import json, os, pathlib, re, signal, subprocess, sys

sys.path.insert(0, str(pathlib.Path(os.environ["SOREX_SOURCE_DIR"]) / "tests" / "e2e"))
from harness import *

HERE = pathlib.Path(__file__).parent
DEPS = SOURCE / "build" / "deps"
ENDLESS = "select count(*) from generate_series(1, 1000000000000)"
PGBENCH = """create table pgbench_branches (bid int primary key, bbalance int, filler char(88));
create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84));
create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84));
create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
insert into pgbench_branches values (1, 1, 0);
insert into pgbench_tellers select g, 1, 0 from generate_series(1, 10) g;
insert into pgbench_accounts select g, 1, 0 from generate_series(1, 100000) g;"""


class Host:
    """tests/serve/postgres_host.c; ends with its standard input."""

    def __init__(self, stack, sql="", connections=100, timeout_ms=0):
        build = pathlib.Path(os.environ["SOREX_BUILD_DIR"])
        self.process = subprocess.Popen([str(build / "tests" / "serve" / "postgres_host"), str(build / "postgres"), str(build / "postgres-cache"),
                                         "0", sql, str(connections), str(timeout_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.stop)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        if self.process.poll() is None:
            out, _ = self.process.communicate(timeout=DEADLINE)
            check(self.process.returncode == 0, f"postgres_host ended with {self.process.returncode}")
            self.counts = json.loads(out)
        return self.counts

    def environment(self, **more):
        return dict(os.environ, PGHOST="127.0.0.1", PGPORT=str(self.port), PGUSER="anybody", PGDATABASE="postgres", PGCLIENTENCODING="UTF8", **more)

    def run(self, *words, input=None, ok=True, **more):
        done = subprocess.run([str(w) for w in words], input=input, capture_output=True, text=True, timeout=300, env=self.environment(**more))
        if ok:
            check(done.returncode == 0, f"{words[0]} ended with {done.returncode}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
        return done

    def psql(self, *words, **more):
        return self.run(PSQL, "-X", "-v", "ON_ERROR_STOP=1", *words, **more)


def client(name):
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return binary(name, *[place / name for place in places])


PSQL, PGBENCH_BIN = client("psql"), client("pgbench")


def need(what, name):
    if what is None or not pathlib.Path(what).exists():
        skip(f"no {name}")


def test_psql(root, stack):
    need(PSQL, "psql")
    host = Host(stack)
    out = host.psql("-c", "\\dt").stdout
    check(re.search(r"public \| heights \| table \| postgres", out), out)
    out = host.psql("-c", "\\d heights").stdout
    check("height | integer |           | not null |" in out and '"heights_pkey" PRIMARY KEY, btree (height)' in out, out)
    wrong = host.psql("-c", "select 1 +", ok=False)
    check(wrong.returncode == 1 and "ERROR:  syntax error at end of input" in wrong.stderr and "LINE 1: select 1 +" in wrong.stderr, wrong.stderr)
    out = host.psql("-At", "-c", "\\set FETCH_COUNT 100", "-c", "select g from generate_series(1, 1000) g").stdout
    equal(out.split(), [str(i) for i in range(1, 1001)], "rows in pieces")
    out = host.psql("-At", input="select max(height) from heights;\n\\c states@2\nselect max(height) from heights;\n").stdout
    equal([line for line in out.split("\n") if line.isdigit()], ["7", "2"], "\\c to another height")
    refused = host.psql("-d", "states@8", "-c", "select 1", ok=False)
    check(refused.returncode == 2 and "FATAL:  there is no height 8, the newest is 7" in refused.stderr, refused.stderr)


def test_psql_copies(root, stack):
    need(PSQL, "psql")
    host = Host(stack)
    rows = "".join(f"{i}\trow {i}\n" for i in range(100000))
    (root / "in").write_text(rows)
    out = host.psql("-At", "-c", "create table t (a int, b text)", "-c", f"\\copy t from '{root}/in'", "-c", "select count(*), sum(a) from t",
                    "-c", f"\\copy (select * from t order by a) to '{root}/out'").stdout
    equal(out.split("\n")[1:3], ["COPY 100000", "100000|4999950000"], "what was copied")
    check((root / "out").read_text() == rows, "what came back is something else")
    out = host.psql("-At", input="create table t (a int);\ncopy t from stdin;\n1\n2\n\\.\nselect sum(a) from t;\ncopy t to stdout;\n").stdout
    equal(out.split("\n"), ["CREATE TABLE", "COPY 2", "3", "1", "2", ""], "COPY in a script")
    wrong = host.psql("-c", "create table t (a int)", "-c", f"\\copy t from '{root}/in'", ok=False)
    check("extra data after last expected column" in wrong.stderr and "COPY t, line 1" in wrong.stderr, wrong.stderr)


def test_psql_interrupted(root, stack):
    """SIGINT cancels the statement; SIGKILL leaves nothing running."""
    need(PSQL, "psql")
    host = Host(stack)
    busy = subprocess.Popen([PSQL, "-X", "-c", "select 'begun'", "-c", ENDLESS], env=host.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(any("begun" in line for line in busy.stdout), "it did not begin")
    def cancelled():  # again: the statement may not have begun
        busy.send_signal(signal.SIGINT)
        return busy.poll() is not None
    wait_for("psql to end", cancelled)
    check("canceling statement due to user request" in busy.stderr.read(), "the error")
    for sql in (ENDLESS, "copy heights from stdin", "select pg_sleep(100000)"):
        killed = subprocess.Popen([PSQL, "-X", "-c", "select 'begun'", "-c", sql], env=host.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        check(any(b"begun" in line for line in killed.stdout), "it did not begin")
        killed.kill()
        killed.communicate()
    def threads():
        return len(os.listdir(f"/proc/{host.process.pid}/task"))
    wait_for("the sessions to end", lambda: threads() <= 3)
    equal(host.psql("-At", "-c", "select count(*) from heights").stdout.strip(), "8", "rows")


def test_pgbench(root, stack):
    """Eight connections at once, in all three ways of sending statements."""
    need(PGBENCH_BIN, "pgbench")
    host = Host(stack, PGBENCH)
    for mode in ("simple", "extended", "prepared"):
        out = host.run(PGBENCH_BIN, "-n", "-c", "8", "-j", "2", "-t", "25", "-s", "1", "-M", mode).stdout
        check("number of transactions actually processed: 200/200" in out and "number of failed transactions: 0 " in out, out)
    (root / "pipeline").write_text("\\startpipeline\nselect 1;\ninsert into pgbench_history (tid) values (5);\nselect count(*) from pgbench_history;\n\\endpipeline\n")
    out = host.run(PGBENCH_BIN, "-n", "-c", "8", "-j", "2", "-t", "25", "-M", "extended", "-f", root / "pipeline").stdout
    check("number of transactions actually processed: 200/200" in out, out)
    out = host.run(PGBENCH_BIN, "-n", "-C", "-c", "4", "-t", "25", "-S", "-s", "1").stdout
    check("number of transactions actually processed: 100/100" in out, out)
    print("   ", re.search(r"average connection time = .*", out).group(0))


def test_psycopg(root, stack):
    python = DEPS / "python" / "bin" / "python"
    need(python, "psycopg (make test-deps installs it)")
    host = Host(stack)
    equal(host.run(python, HERE / "driver.py", host.port).stdout, "ok\n", "psycopg")


def test_jdbc(root, stack):
    need(binary("javac"), "JDK")
    need(DEPS / "jdbc", "JDBC driver (make test-deps installs it)")
    host = Host(stack)
    equal(host.run("java", "-XX:+UseSerialGC", "-cp", f"{DEPS}/jdbc/*", HERE / "Driver.java", host.port).stdout, "ok\n", "JDBC")


# One program, so that one that is not there skips its own test only.
main({"psql": test_psql, "psql_copies": test_psql_copies, "psql_interrupted": test_psql_interrupted, "pgbench": test_pgbench,
      "psycopg": test_psycopg, "jdbc": test_jdbc}[sys.argv[1]])
