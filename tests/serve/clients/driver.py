"""psycopg 3 against PostgreSQL's port: driver.py PORT. Prints "ok" when all is as it is with a server."""
import datetime, decimal, sys, threading
import psycopg

PORT = int(sys.argv[1])


def connect(database="postgres", **more):
    return psycopg.connect(host="127.0.0.1", port=PORT, dbname=database, user="anybody", autocommit=True, **more)


def equal(got, want, what):
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def one(connection, sql, *parameters, **more):
    return connection.execute(sql, parameters or None, **more).fetchone()[0]


def fails(sqlstate, connection, sql, *parameters):
    try:
        connection.execute(sql, parameters or None)
    except psycopg.Error as error:
        equal(error.sqlstate, sqlstate, sql)
    else:
        raise AssertionError(f"{sql}: no error")


def values():
    with connect() as c:
        row = (1, 2**40, 1.5, decimal.Decimal("12.50"), "näme", b"\0\1", True, None, datetime.date(2001, 2, 3), [1, 2, 3], {"a": [1, None]})
        types = "int, bigint, float8, numeric, text, bytea, bool, text, date, int[], jsonb"
        c.execute("create table v (" + ", ".join(f"c{i} {t}" for i, t in enumerate(types.split(", "))) + ")")
        with c.cursor() as cursor:
            cursor.execute("insert into v values (" + ", ".join(["%s"] * len(row)) + ")",
                           row[:-1] + (psycopg.types.json.Jsonb(row[-1]),))
        for binary in (False, True):
            equal(c.execute("select * from v", binary=binary).fetchone(), row, f"values, binary={binary}")
        fails("23502", c, "insert into heights values (null)")
        fails("42P01", c, "select * from nowhere")


def transactions():
    with connect() as c:
        with c.transaction():
            c.execute("insert into heights values (100)")
            try:
                with c.transaction():
                    c.execute("insert into heights values (101)")
                    c.execute("insert into heights values (100)")
            except psycopg.errors.UniqueViolation:
                pass
        equal(one(c, "select count(*) from heights"), 9, "rows after a savepoint was rolled back")


def many_at_once():
    """Each writes the same rows, and sees its own."""
    wrong = []

    def client(number):
        try:
            with connect() as c:
                for i in range(20):
                    c.execute("insert into heights values (%s, %s)", (1000 + i, f"client {number}"))
                equal(one(c, "select count(distinct text) from heights where height >= 1000"), 1, "writers")
                equal(one(c, "select text from heights where height = 1000"), f"client {number}", "whose")
        except Exception as error:  # noqa: BLE001: told below
            wrong.append(error)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def pipelines():
    with connect() as c:
        with c.pipeline():
            cursors = [c.execute("select %s::int * 2", (i,)) for i in range(100)]
        equal([cursor.fetchone()[0] for cursor in cursors], [i * 2 for i in range(100)], "pipeline")
        try:
            with c.pipeline():
                c.execute("select 1/0")
                c.execute("select 1")
        except psycopg.errors.DivisionByZero:
            pass
        equal(one(c, "select 5"), 5, "after a pipeline that failed")


def cursors():
    with psycopg.connect(host="127.0.0.1", port=PORT, dbname="postgres", user="anybody") as c:
        with c.cursor(name="piecewise") as cursor:
            cursor.itersize = 100
            cursor.execute("select g from generate_series(1, 1000) g")
            equal([row[0] for row in cursor], list(range(1, 1001)), "server-side cursor")


def copies():
    with connect() as c:
        c.execute("create table t (a int, b text)")
        with c.cursor() as cursor:
            with cursor.copy("copy t from stdin") as copy:
                for i in range(20000):
                    copy.write_row((i, f"row {i}"))
            with cursor.copy("copy t (a, b) from stdin (format binary)") as copy:
                copy.set_types(["int4", "text"])
                copy.write_row((20000, "binary"))
            with cursor.copy("copy t to stdout") as copy:
                equal(sum(1 for _ in copy.rows()), 20001, "rows copied out")
            try:
                with cursor.copy("copy t from stdin") as copy:
                    copy.write("no number\tx\n")
            except psycopg.errors.InvalidTextRepresentation:
                pass
        equal(one(c, "select count(*) from t"), 20001, "rows after a COPY that failed")


def cancelling():
    with connect() as c:
        timer = threading.Timer(0.2, c.cancel)
        timer.start()
        fails("57014", c, "select count(*) from generate_series(1, 1000000000000)")
        timer.join()
        equal(one(c, "select 1"), 1, "after cancelling")


def notices():
    with connect() as c:
        heard = []
        c.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        c.execute("do $$ begin raise notice 'hello %', 5; end $$")
        equal(heard, ["hello 5"], "notices")
        c.execute("listen here")
        c.execute("notify here, 'x'")
        equal([n.payload for n in c.notifies(timeout=0, stop_after=1)], ["x"], "notifications")


def heights():
    for height in range(8):
        with connect(f"states@{height}") as c:
            equal(one(c, "select max(height) from heights"), height, "height")
        with connect(options=f"-c sorex.height={height} -c TimeZone=Asia/Tokyo") as c:
            equal(one(c, "select count(*) from heights"), height + 1, "height by option")
            equal(c.info.parameter_status("TimeZone"), "Asia/Tokyo", "TimeZone")


for test in (values, transactions, many_at_once, pipelines, cursors, copies, cancelling, notices, heights):
    test()
print("ok")
