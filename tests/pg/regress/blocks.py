"""What psql printed for a script, taken apart: what was printed behind which of its lines. `psql -a` prints every line of the script as
it reads it, and results where they arise."""
import re

COPY_FROM = re.compile(r"\bcopy\b.*\bfrom\s+std(in|out)\b", re.I | re.S)
END = re.compile(r"(?<!\\);\s*(--.*)?$|^\\(?!\.)")
# Two scripts have COPYs without data, as they are to fail. Since 15.16 psql takes what follows for data all the same, up to a \\.
WITHOUT_DATA = re.compile(r"^(COPY [^\n;]*FROM STDIN;[^\n]*\n)(?=\n|SET |RESET |SELECT |DROP |--|COPY )", re.I | re.M)


def script_text(path):
    """A script as it is played."""
    text = path.read_text(errors="surrogateescape")
    return WITHOUT_DATA.sub(r"\1\\.\n", text) if path.stem in ("generated", "rowsecurity") else text


class Script:
    def __init__(self, text):
        self.lines = []  # those that psql prints
        self.jumps = {}  # line behind a COPY FROM STDIN -> line behind its data, which are printed only if the COPY failed
        statement, hidden = [], False
        for line in text.split("\n"):
            if hidden:
                hidden = line != "\\set ECHO all"
                continue
            hidden = line in ("\\set ECHO none", "\\set ECHO errors")
            self.lines.append(line)
        for at, line in enumerate(self.lines):
            statement.append(line)
            if END.search(line):
                if COPY_FROM.search("\n".join(statement)) and "\\." in self.lines[at:]:
                    self.jumps[at + 1] = self.lines.index("\\.", at) + 1
                statement = []

    def statements(self):
        """About how many there are."""
        return sum(END.search(line) is not None for line in self.lines)

    def statement(self, at):
        """The statement that ends in line `at`, as far as can be told from the lines' ends."""
        first = at
        while first > 0 and not END.search(self.lines[first - 1]) and at - first < 200:
            first -= 1
        lines = self.lines[first:at + 1]
        while len(lines) > 1 and (lines[0].strip() == "" or lines[0].startswith("--")):
            lines.pop(0)
        return "\n".join(lines)

    def _next(self, at, line):
        """The line that this printed line is, if it is one; None: a result."""
        start = at
        unended = 0 < at and self.lines[at - 1].startswith("\\echo -n ")
        while at < len(self.lines) and self.lines[at] == "" and line != "":
            at += 1
        if at < len(self.lines) and (self.lines[at] == line or (unended and line.endswith(self.lines[at]))):
            return at
        return self._next(self.jumps[start], line) if start in self.jumps else None

    def results(self, output):
        """By line of the script, the lines that were printed behind it; and whether the script was read to its end or a \\quit."""
        found, at = {}, 0
        for line in output.split("\n"):
            if line.startswith("LOCATION:  "):
                continue  # of an error in PostgreSQL's source, which VERBOSITY verbose adds besides the SQLSTATE
            here = self._next(at, line)
            if here is None:
                found.setdefault(at - 1, []).append(line)
            else:
                at = here + 1
        whole = all(line == "" for line in self.lines[at:]) or self.lines[at - 1] == "\\quit"
        return found, whole
