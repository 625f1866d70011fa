"""`sorex sql`: beside psql on a native server, on a pipeline's database at every height, in files, pipes and a terminal."""
import csv, fcntl, io, json, os, pathlib, pty, re, select, signal, struct, subprocess, termios, time
from harness import *

HERE = pathlib.Path(__file__).parent


def sql(*words, stdin="", code=0, env=None, cwd=None):
    """Standard output and standard error of `sorex sql`."""
    done = subprocess.run([SOREX, "sql", *map(str, words)], input=stdin, capture_output=True, text=True, timeout=300, cwd=cwd,
                          env=dict(ENVIRONMENT, **(env or {})))
    equal(done.returncode, code, f"exit code of sorex sql {' '.join(map(str, words))} ({done.stderr.strip()[-800:]})")
    return done.stdout, done.stderr


# ---- psql ----

TOGGLES = re.compile(r"^(Expanded display|Tuples only|Null display) is .*\n", re.M)  # said to a terminal only


def test_as_psql(root, stack):
    """Results, \\d and its family, errors with their places, notices, COPY: byte for byte, but for line numbers of files."""
    server = Postgres(root)
    stack.callback(server.close)
    psql = str(server.bin / "psql")
    if " 15." not in subprocess.run([psql, "--version"], capture_output=True, text=True).stdout:
        print("another psql than 15: not compared")
        return
    server.sql("create role postgres superuser login")
    script = HERE / "shell.sql"
    native = subprocess.run([psql, "-X", "-d", server.url().replace("user=sorex", "user=postgres"), "-f", str(script)],
                            capture_output=True, text=True, env=dict(ENVIRONMENT, PGCLIENTENCODING="UTF8", PGTZ="UTC"))
    out, err = sql("--scratch", "--keep-going", "-f", script, code=2)
    for number, (got, want) in enumerate(zip(out.split("\n\n"), TOGGLES.sub("", native.stdout).split("\n\n"))):
        equal(got, want, f"part {number} of what is printed")
    equal(out, TOGGLES.sub("", native.stdout), "all that is printed")
    check(len(out.splitlines()) > 300, "that was little")
    places = re.compile(rf"^(psql:)?{re.escape(str(script))}:\d+: (error: )?", re.M)
    equal(places.sub("", err), places.sub("", native.stderr), "errors and notices")
    check("LINE 2:   where x = 1;" not in err and "LINE 1: select 1 from nowhere" in err, err)


# ---- input and output ----

def test_inputs(root, _):
    """In the order of the command line, in one session; the first error ends it, with the place in a file."""
    (root / "a.sql").write_text("insert into t values (2);\n\\i b.sql\nselect 1/0;\ninsert into t values (9);\n")
    (root / "b.sql").write_text("insert into t values (3)")  # without a semicolon
    words = ("--scratch", "-q", "-t", "-c", "create table t (id int)", "-f", "a.sql", "-c", "select array_agg(id) from t")
    out, err = sql(*words, cwd=root, code=2)
    equal((out, err), ("", "a.sql:3: ERROR:  division by zero\n"), "ends at the first error")
    out, err = sql(*words, "--keep-going", cwd=root, code=2)
    equal(out, " {2,3,9}\n\n", "goes on")
    out, err = sql("--scratch", stdin="select 1 as one;\nselect\n 2 as two")
    equal(out.split(), ["one", "-----", "1", "(1", "row)", "two", "-----", "2", "(1", "row)"], "standard input")
    equal(sql("--scratch", stdin="selec;\nselect 1;", code=2)[0], "", "an error in standard input")
    equal(sql("--scratch", "-c", "\\q", "-c", "select 1")[0], "", "\\q ends all")
    (root / "loop.sql").write_text("\\i loop.sql\n")
    check("deep" in sql("--scratch", "-f", "loop.sql", cwd=root, code=2)[1], "a file that reads itself")
    check("could not be read" in sql("--scratch", "-f", root, cwd=root, code=2)[1], "a directory")
    check("nothing.sql" in sql("--scratch", "-f", "nothing.sql", cwd=root, code=2)[1], "a file that is not there")
    check("no such command" in sql("--scratch", "-c", "\\nonsense", code=2)[1], "a command that is not there")
    sql("--scratch", "-c", "\\o out.txt", "-c", "select 5 as five", "-c", "\\o", cwd=root)
    check("five" in (root / "out.txt").read_text(), "\\o")
    check("no flag -qt" in sql("--scratch", "-qt", code=2)[1], "letters are not put together")
    out, _ = sql("--scratch", "-q", "-t", stdin="create table t (a int, b text);\ncopy t from stdin;\n1\tone\n2\t\\N\n\\.\n"
                                                "select sum(a), count(b) from t;\n")
    equal(out.split(), ["3", "|", "1"], "data in the input")


ODD = ["", "a", " a ", "x,y", 'say "hi"', "two\nlines", "tab\there", "\\.", "ä漢字", "'", "null"]


def test_formats(root, _):
    """What CSV and JSON hold is what was in the table."""
    values = ", ".join(f"({i}, '{text.replace(chr(39), chr(39) * 2)}')" for i, text in enumerate(ODD)) + ", (99, null)"
    query = f"select * from (values {values}) t (id, text) order by id"
    rows = list(csv.reader(io.StringIO(sql("--scratch", "--csv", "-c", query)[0], newline="")))
    equal(rows, [["id", "text"]] + [[str(i), text] for i, text in enumerate(ODD)] + [["99", ""]], "CSV")
    lines = [json.loads(line) for line in sql("--scratch", "--json", "-c", query)[0].splitlines()]
    equal(lines, [{"id": i, "text": text} for i, text in enumerate(ODD)] + [{"id": 99, "text": None}], "JSON")
    types = "select 1.50 as n, true as b, 'NaN'::float8 as f, '{\"a\":[1, null]}'::jsonb as j, array[1,2] as a, 9007199254740993 as big"
    equal(json.loads(sql("--scratch", "--json", "-c", types)[0]),
          {"n": 1.5, "b": True, "f": "NaN", "j": {"a": [1, None]}, "a": "{1,2}", "big": 9007199254740993}, "types in JSON")
    equal(sql("--scratch", "--csv", "-c", "create table t (id int)", "-c", "insert into t values (1) returning id")[0], "id\n1\n",
          "no tags in CSV")
    check(sql("--scratch", "-x", "-c", query)[0].startswith("-[ RECORD 1 ]"), "expanded")
    check("--csv, --json" in sql("--scratch", "--csv", "--json", "-c", "select 1", code=2)[1], "two formats")
    check("Time: " in sql("--scratch", "--timing", "-c", "select 1")[0], "--timing")


def test_images(root, _):
    image = root / "a.image"
    out, err = sql("--scratch", "-c", "create table t as select 7 as seven", "-c", f"\\save {image}")
    equal((out, err), ("SELECT 1\n", ""), "a scratch database is no copy of anything")
    out, err = sql("--image", image, "-t", "-c", "select * from t", "-c", "insert into t values (8)", "-c", "delete from t")
    equal(err.count("this is a copy"), 1, "said once: " + err)
    equal(sql("--image", image, "-t", "-c", "select * from t"), ("     7\n\n", ""), "nothing was kept, nothing is said of a query")
    image.write_bytes(image.read_bytes()[:-100])
    check("a.image" in sql("--image", image, "-c", "select 1", code=4)[1], "a damaged image")
    check("which database" in sql("-c", "select 1", code=2)[1], "no database")
    check("only one" in sql("--image", image, "--scratch", "-c", "select 1", code=2)[1], "two databases")
    check("no heights" in sql("--scratch", "--at", "5", "-c", "select 1", code=2)[1], "a scratch database has no heights")


def test_lost_sessions(root, _):
    """A backend that ends is replaced; the shell goes on."""
    out, err = sql("--scratch", "--keep-going", "-t", "-c", "create table t (id int); set exit_on_error = on", "-c", "select 1/0",
                   "-c", "select 5", code=2)
    check("FATAL:  division by zero" in err and "this is a new one" in err, err)
    equal(out.split(), ["5"], "what is left")


# ---- a pipeline's database ----

def test_heights(root, _):
    pipe = pipeline_file(root / "p.json", name="small", data=str(root / "data"), indexer=UTXO, transforms=[BALANCES],
                         source={"type": "blockfiles", "path": str(BLOCKS)}, sinks=[{"type": "database"}])
    check("no store in" in sql(pipe, "-c", "select 1", code=6)[1], "before the first run")
    sorex("run", pipe, "--until", 300)

    def balances(*words):
        return sorted(csv.reader(io.StringIO(sql(*words, "--csv", "-t", "-c", "select key, balance from balances")[0])))

    def engine(height):
        rows = engine_rows([pipe], height)
        return sorted([key[1], str(row["balance"])] for key, row in rows.items())

    check(len(balances(pipe)) > 250, "too few rows")
    for height in (300, 299, 170, 1):
        equal(balances(pipe, "--at", height), engine(height), f"the state at {height}")
    equal(balances("--data", root / "data", "--at", 170), engine(170), "by data directory")
    query = ("-t", "-c", "select count(*) from balances")
    for cwd in (root, root / "other", root / "named"):  # data; data/x; pipeline.yaml
        cwd.mkdir(exist_ok=True)
    (root / "other" / "data").mkdir()
    (root / "other" / "data" / "x").symlink_to(root / "data")
    (root / "named" / "pipeline.yaml").write_text(pipe.read_text())
    for cwd in (root, root / "other", root / "named"):
        equal(int(sql(*query, cwd=cwd)[0]), len(engine(300)), f"without a name in {cwd.name}")
    out, err = sql(pipe, "-t", "-c", "delete from balances", "-c", "\\at 10", "-c", "select count(*) from balances", "-c", "\\at",
                   "-c", "select count(*) from balances")
    equal(out.split()[-2:], [str(len(engine(10))), str(len(engine(300)))], "\\at starts again")
    check("this is a copy" in err, err)
    check("301" in sql(pipe, "--at", 301, "-c", "select 1", code=6)[1], "above the newest")
    check("--at wants" in sql(pipe, "--at", "x", "-c", "select 1", code=2)[1], "no height")
    with subprocess.Popen([SOREX, "sql", pipe, "-q", "-t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=ENVIRONMENT) as shell:
        shell.stdin.write("select count(*) from balances;\n")
        shell.stdin.flush()
        equal(int(shell.stdout.readline()), len(engine(300)), "what the shell sees")
        sorex("run", pipe, "--until", 320)
        query = "select count(*) from balances;\n"
        out, _ = shell.communicate(f"{query}\\at 200\n{query}\\at 310\n{query}\\at\n{query}")
        equal(out.split(), [str(len(engine(height))) for height in (300, 200, 310, 320)], "\\at sees what came meanwhile")
    with Running(pipe, log=root / "log") as run:  # beside one that goes on
        wait_for("more blocks", lambda: int(sql(pipe, "-t", "-c", "select count(*) from balances")[0]) > 2000)
        check(run.alive(), run.text())
        run.kill(signal.SIGTERM)
    check("database" in sql(pipe, "--sink", "other", "-c", "select 1", code=6)[1], "a sink that is not there")


# ---- a terminal ----

class Terminal:
    """`sorex sql` on a pseudo terminal. What it shows has no colours, but sequences that move the cursor."""

    def __init__(self, root, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            env = dict(ENVIRONMENT, TERM="xterm", HOME=str(root), XDG_STATE_HOME="", XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", ""))
            os.execve(SOREX, [SOREX, "sql", *words], env)
        self.text = ""
        self.at = 0

    def read(self):
        ready, _, _ = select.select([self.fd], [], [], 0.1)
        if ready:
            try:
                self.text += os.read(self.fd, 65536).decode(errors="replace").replace("\r", "")
            except OSError:
                return False
        return True

    def expect(self, wanted):
        """Waits until it stands behind what was expected last; returns what is between."""
        end = time.monotonic() + DEADLINE
        while wanted not in self.text[self.at:]:
            check(self.read() and time.monotonic() < end, f"{wanted!r} did not come: {self.text[self.at:]!r}")
        begin, self.at = self.at, self.text.index(wanted, self.at) + len(wanted)
        return self.text[begin:self.at]

    def type(self, text):
        os.write(self.fd, text.encode())

    def type_keys(self, text):
        """Control characters, which are keys only after the prompt: the editor sets the terminal up when it has shown that."""
        wait_for("the prompt to take keys", lambda: not termios.tcgetattr(self.fd)[3] & termios.ICANON)
        self.type(text)

    def end(self):
        while self.read():
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_terminal(root, _):
    t = Terminal(root, "--scratch")
    t.expect("\\q to leave")
    t.expect("scratch=# ")
    t.type("create table t (\n")
    t.expect("scratch(# ")
    t.type("id int);\n")
    t.expect("CREATE TABLE\n")
    t.expect("scratch=# ")
    t.type("select 'ä\n")
    t.expect("scratch'# ")
    t.type("' as a;\n")
    t.expect("(1 row)")
    t.type("begin;\n")
    t.expect("scratch=*# ")
    t.type("selec;\n")
    t.expect("LINE 1: selec;")
    t.expect("scratch=!# ")
    t.type("rollback;\n")
    t.expect("scratch=# ")
    t.type("\\timing\n")
    t.expect("Timing is on.")
    t.type("select 42;\n")
    t.expect("Time: ")
    t.expect("scratch=# ")
    # Ctrl-C forgets a line and a statement; a statement that runs, it cancels.
    t.type("select (1,\n")
    t.expect("scratch(# ")
    t.type_keys("nonsense\x03")
    t.expect("^C")
    t.expect("scratch=# ")
    t.type("select pg_sleep(1000);\n")
    wait_for("the statement to run", lambda: t.read() and termios.tcgetattr(t.fd)[3] & termios.ISIG)

    def cancelled():
        t.type("\x03")  # one that comes before it runs does nothing
        return t.read() and "canceling statement due to user request" in t.text[t.at:]
    wait_for("the statement to end", cancelled)
    t.type("\nselect 'caught' as c;\n")
    t.expect(" caught")
    t.expect("scratch=# ")
    t.type_keys("\x1b[A\x1b[A\x1b[A\n")  # up, up, up: the one before these
    t.expect("       42")
    t.expect("scratch=# ")
    t.type("\\x\n")
    t.expect("Expanded display is on.")
    t.type("insert into t values (1), (2) returning id;\n")
    t.expect("RECORD 2")
    t.type("\\x auto\n")
    t.expect("Expanded display is used automatically.")
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    t.type("select repeat('x', 56) as fits;\n")
    t.expect("(1 row)")
    t.type("select repeat('x', 59) as wide;\n")
    t.expect("RECORD 1")
    t.type("\\nonsense\n")
    t.expect("no such command")
    t.type("\\q\n")
    equal(t.end(), 0, "exit code")
    # The next one knows what was typed.
    t = Terminal(root, "--scratch")
    t.expect("scratch=# ")
    t.type("create table t (id int);\n")
    t.expect("scratch=# ")
    t.type_keys("\x1b[A" * 7 + "\n")
    t.expect("INSERT 0 2")
    t.expect("scratch=# ")
    t.type_keys("\x04")  # Ctrl-D
    t.expect("\\q")
    equal(t.end(), 0, "exit code after Ctrl-D")
    history = root / ".local" / "state" / "sorex" / "sql_history"
    equal(history.stat().st_mode & 0o077, 0, "nobody else reads the history")


main(test_as_psql, test_inputs, test_formats, test_images, test_lost_sessions, test_heights, test_terminal)
