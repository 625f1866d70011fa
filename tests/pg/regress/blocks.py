"""What psql printed for a script, taken apart: what was printed behind which of its lines. `psql -a` prints every line of the script as
it reads it, and results where they arise."""
import re

COPY_FROM = re.compile(r"\bcopy\b.*\bfrom\s+std(in|out)\b", re.I | re.S)
END = re.compile(r";\s*(--.*)?$|^\\(?!\.)")


class Script:
    def __init__(self, text):
        self.lines = []  # those that psql prints: not the data of COPY FROM STDIN
        statement, data = [], False
        rest = text.split("\n")
        for at, line in enumerate(rest):
            if data:
                data = line != "\\."
                continue
            self.lines.append(line)
            statement.append(line)
            if END.search(line):
                data = COPY_FROM.search("\n".join(statement)) is not None and "\\." in rest[at:]
                statement = []

    def statement(self, at):
        """The statement that ends in line `at`, as far as can be told from the lines' ends."""
        first = at
        while first > 0 and not END.search(self.lines[first - 1]) and at - first < 200:
            first -= 1
        lines = self.lines[first:at + 1]
        while len(lines) > 1 and (lines[0].strip() == "" or lines[0].startswith("--")):
            lines.pop(0)
        return "\n".join(lines)

    def results(self, output):
        """By line of the script, the lines that were printed behind it; and the line after the last one that was read."""
        found, at = {}, 0
        for line in output.split("\n"):
            ahead = at
            while ahead < len(self.lines) and self.lines[ahead] == "" and line != "":
                ahead += 1
            if ahead < len(self.lines) and self.lines[ahead] == line:
                at = ahead + 1
            else:
                found.setdefault(at - 1, []).append(line)
        while at < len(self.lines) and self.lines[at] == "":
            at += 1
        return found, at
