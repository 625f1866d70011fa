"""Why the embedded PostgreSQL answers otherwise than the native one: the reasons, with what recognises them. What no rule recognises
stands in differences.txt, statement by statement, each with its reason."""
import re

REASONS = {
    "plan": ("Plans", "The planner of 18 is another one than that of 15, and EXPLAIN prints more (windows, disabled nodes, fractions of "
                      "rows). Recognised: the statement is an EXPLAIN or calls a function of the suite that explains, or both results are plans."),
    "wording": ("Texts of messages", "Severity and SQLSTATE of every message are equal, and so are all rows; primary text, detail, hint "
                                     "or context are put otherwise in 18."),
    "viewtext": ("Definitions of views", "Since 16 the columns of a view over one table are printed without the table's name. Equal but "
                                         "for these names."),
    "lmt": ("Names of time zones before standard time", "Since 18 the abbreviation comes from the session's zone, which was local mean "
                                                        "time (LMT) then."),
    "psql": ("psql's own queries", "psql of 15 describes the catalogs of 15: `\\d` and its like on those of 18 show other things, or "
                                   "nothing."),
    "csv-end": ("`\\.` in CSV", "psql of 15 sends the line `\\.` that ends COPY's data in a script; in CSV, a server since 18 takes it "
                                "for data, as the documentation says. A client of 18 does not send it."),
    "icu": ("Collations of languages", "PGlite's package has only the root of ICU's data: collations like `en-x-icu` are not there."),
    "lz4": ("No lz4", "PGlite is built without it: `COMPRESSION lz4` fails with 0A000; pglz works."),
    "libraries": ("Libraries that PGlite's package has, but cannot load", "Conversions of encodings and the client side of replication "
                  "want functions that the main module lacks: 58P01 for CREATE CONVERSION, CREATE SUBSCRIPTION with a connection."),
    "single": ("One process", "A single-user backend: no statistics of sessions, checkpointer, WAL writer or archiver, no workers."),
    "files": ("Files", "What the server reads and writes are files in its own memory, which clients on the same machine do not see."),
    "follows": ("Consequences", "An earlier statement of the same script differs for one of the other reasons; this one meets an object, "
                                "a privilege or a transaction that is not as it would be."),
    "sqlstate": ("Other SQLSTATE", "The statement fails on both, for the same reason; 16, 17 or 18 gave the error another code."),
    "order": ("Order", "The statement leaves the order of its rows, or which ones of equal rank they are, open."),
    "catalog": ("Catalogs and settings", "What 18 has in its own catalogs, views and settings, and names that were changed "
                                         "(`force_parallel_mode` is `debug_parallel_query` since 16)."),
    "behaviour": ("Changes of behaviour", "Changed between 15 and 18 on purpose, as the release notes of 16, 17 and 18 say: privileges of "
                  "CREATEROLE, grants by their grantor, constraints NOT NULL in the catalog, rules that made tables into views, the "
                  "search path during maintenance, names of roles and schemas in reg* functions, digits of numeric powers, infinite "
                  "intervals, MERGE and generated columns, JSON without recursion, input of xid, arrays and dates."),
}

MESSAGE = re.compile(r"^(?:psql:\S+ )?(ERROR|FATAL|WARNING|NOTICE|INFO|LOG):  (\w{5}):|"
                     r"^(?:DETAIL|HINT|CONTEXT|QUERY|LINE \d+|SCHEMA NAME|TABLE NAME|COLUMN NAME|DATA TYPE NAME|CONSTRAINT NAME):|^ *\^$")
FILES = {"collate.icu.utf8": "icu", "subscription": "libraries", "conversion": "libraries", "compression": "lz4"}


def messages(result):
    """(severity, SQLSTATE) of each, in order."""
    found = (MESSAGE.match(line) for line in result)
    return [(match[1], match[2]) for match in found if match and match[1]]


def _rows(result):
    return [line for line in result if line and not MESSAGE.match(line)]


def _unqualified(result):
    text = re.sub(r'(?<![\w.])("[^"]+"|\w+)\.(?=["\w*])', "", " ".join(result))
    return re.sub(r"[\s+|()-]+", "", text)


def reason_of(name, statement, native, ours):
    """By rule; None: no rule knows it."""
    explain = re.match(r"\s*(explain\b|select\b.*\bexplain_\w+\()", statement, re.I | re.S)
    if explain or (native and ours and "QUERY PLAN" in native[0] and "QUERY PLAN" in ours[0]):
        return "plan"
    if name in FILES:
        return FILES[name]
    if messages(native) and messages(native) == messages(ours) and _rows(native) == _rows(ours):
        return "wording"
    if _unqualified(native) == _unqualified(ours):
        return "viewtext"
    if any(code == "25P02" for _, code in messages(ours)):
        return "follows"
    if any("could not load library" in line for line in ours):
        return "libraries"
    if statement.lstrip().startswith("\\d"):
        return "psql"
    if any("LMT" in line for line in ours):
        return "lmt"
    return None
