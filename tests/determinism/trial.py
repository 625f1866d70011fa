"""One run of a log through a pipeline, in one of many ways, and what it left: what the tests in this folder compare."""
import fcntl, hashlib, json, os, random, re, signal, socket, struct, subprocess, threading

from harness import check, equal, fold_changes

FUEL = 10**12  # metered, and never out of it
INDEXED = re.compile(r"height (\d+) indexed: (\d+) pairs, (\d+) changes(?:, (\d+) fuel)?")


class Log:
    """What is run: a source, its heights, guests. programs are in the order of their names in the store's hashes."""

    def __init__(self, name, source, last, indexer, transforms=(), start=0, view=None):
        self.name, self.source, self.start, self.last, self.view = name, source, start, last, view
        self.indexer, self.transforms = indexer, list(transforms)

    def programs(self):
        return [self.indexer["name"], *(t["name"] for t in self.transforms)]


class Trial:
    """A store of its own, run by one build (or several, one after the other) under the settings of one variant."""

    def __init__(self, root, log, builds, settings=None, program=None, cpus=None):
        root.mkdir(parents=True)
        self.root, self.log, self.builds, self.cpus, self.legs = root, log, builds, cpus, 0
        self.random = random.Random(f"{os.environ.get('SOREX_TEST_SEED', '20260101')} {root.name} {log.name}")
        self.entries, self.before = {}, {}
        own = dict({"fuel": FUEL}, **(program or {}))
        sections = dict(name="d", data=str(root / "data"), source=log.source, start_height=log.start, log_level="debug",
                        indexer=dict(log.indexer, **own), transforms=[dict(t, **own) for t in log.transforms],
                        sinks=[{"type": "file", "path": str(root / "changes.jsonl")}])
        self.file = root / "pipeline.json"
        self.file.write_text(json.dumps(dict(sections, **(settings or {}))))

    def build(self):
        return self.builds[self.legs % len(self.builds)]

    def tool(self, *words, code=0):
        done = subprocess.run([self.build(), *map(str, words)], capture_output=True, text=True, timeout=300)
        equal(done.returncode, code, f"{self.root}: exit code of {' '.join(map(str, words))} ({done.stderr.strip()[-800:]})")
        return json.loads(done.stdout) if "--json" in words and code == 0 else done.stdout

    def leg(self, stop=None, how=signal.SIGKILL):
        """Runs to the end, or until the entry of this height is indexed, then sends the signal. What an entry made and used is the same
        every time it is executed."""
        command = [self.build(), "run", str(self.file), "--until", str(self.log.last), "--json"]
        place = (lambda: os.sched_setaffinity(0, self.cpus)) if self.cpus else None
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=place)
        fcntl.fcntl(run.stderr, fcntl.F_SETPIPE_SZ, 4096)  # it is not far ahead of what is read here
        tail, interrupted = [], stop is not None
        for line in run.stderr:
            tail = [*tail[-5:], line]
            found = INDEXED.search(line)
            if not found:
                continue
            height, *made = (int(part or 0) for part in found.groups())
            equal(made, self.entries.setdefault(height, made), f"{self.root}: height {height} when executed again")
            if stop is not None and height >= stop:
                run.send_signal(how)
                stop = None
        summary = run.stdout.read()
        code = run.wait(timeout=300)
        run.stdout.close()
        run.stderr.close()
        self.legs += 1
        if code == 0 and summary:
            self.summary = json.loads(summary)
        # 8: stopped before the end. A signal may come too late, or in a long entry: then the end is 0 too.
        check(code == 0 or (interrupted and code in (-how, 8)), f"{self.root}: exit code {code}: {''.join(tail)}")
        if code == -signal.SIGKILL:
            self.take_last()
        return code

    def take_last(self):
        """A kill can come between the write of an entry and the line about it: what it made is what it makes when executed again."""
        last = self.tool("status", self.file, "--json")["heights"]["durable"]
        if last is not None and last not in self.entries:
            made = self.tool("replay", self.file, "--from", last, "--to", last, "--json")
            self.entries[last] = [made[what] for what in ("pairs", "changes", "fuel")]

    def heights(self, count):
        return sorted(self.random.randint(self.log.start, self.log.last) for _ in range(count))

    def hashes(self, height=None):
        at = () if height is None else ("--height", height)
        found = {name: self.tool("state", "hash", self.file, "--program", name, "--json", *at) for name in self.log.programs()}
        return {name: (h["state"], h["commitment"]) for name, h in found.items()}

    def changes(self):
        return (self.root / "changes.jsonl").read_bytes()

    def outcome(self):
        """What must be equal in all trials of a log: states and commitments, every entry's figures, the bytes at the sink."""
        check(sorted(self.entries) == list(range(self.log.start, self.log.last + 1)), f"{self.root}: entries are missing")
        return {"states and commitments": self.hashes(), "pairs, changes, fuel of each entry": self.entries,
                "bytes at the sink": hashlib.sha256(self.changes()).hexdigest()}

    def fuel(self):
        return sum(made[2] for made in self.entries.values())


# ---- ways to run ----

def straight(trial):
    equal(trial.leg(), 0, f"{trial.root}: exit code")
    equal(trial.summary["fuel"], trial.fuel(), f"{trial.root}: fuel of the run and of its entries")
    equal(trial.summary["entries"], len(trial.entries), f"{trial.root}: entries of the run")


def signalled(how, times):
    def way(trial):
        for stop in trial.heights(times):
            trial.leg(stop, how)
        equal(trial.leg(), 0, f"{trial.root}: exit code")
    return way


def undone(trial):
    """Back to a random height and there again: the sink has the inverses too, but what they leave is the same. Two transforms that make
    the same table have no common fold."""
    def rows():
        return fold_changes(trial.changes().decode()) if len(trial.log.transforms) == 1 else None
    trial.leg()
    first = rows()
    for height in trial.heights(2):
        trial.tool("rollback", trial.file, "--to", height)
        trial.leg()
    equal(rows(), first, f"{trial.root}: rows at the sink")


def ask(data, **request):
    """One request at the socket (docs/formats/data-directory.md); None when there is no answer."""
    text = json.dumps(request).encode()
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(str(data / "control.sock"))
            s.sendall(struct.pack("<BI", ord("Q"), len(text)) + text)
            answer = s.makefile("rb").read()
    except OSError:
        return None
    size = int.from_bytes(answer[1:5], "little")
    return json.loads(answer[5:5 + size]) if answer[:1] == b"D" and answer[-5:-4] == b"Z" else None


def watched(trial):
    """Views are asked all the time while it runs; what they said is what they say later of the same heights. The status too: its fuel
    is that of the entries so far."""
    answers, states, ended = [], [], threading.Event()

    def asker():
        while not ended.is_set():
            answer = ask(trial.root / "data", verb="view", name=trial.log.view, json=True)
            if answer is not None and not ended.is_set():
                answers.append((answer["height"], answer["result"]))
            status = ask(trial.root / "data", verb="status", json=True)
            if status is not None and threading.current_thread() is threads[0]:
                states.append((status["entries"], status["fuel"]))
    threads = [threading.Thread(target=asker) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        trial.leg()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    for entries, fuel in states:
        so_far = sum(trial.entries[height][2] for height in range(trial.log.start, trial.log.start + entries))
        equal(fuel, so_far, f"{trial.root}: fuel in the status after {entries} entries")
    during = {height: result for height, result in answers if height < trial.log.last}
    for height, result in answers:
        equal(during.get(height, result), result, f"{trial.root}: two answers at height {height}")
    trial.answers, trial.answered = during, len(answers)
    for height in trial.random.sample(sorted(during), min(6, len(during))):
        later = trial.tool("view", trial.file, trial.log.view, "--height", height, "--json")
        equal(later["result"], during[height], f"{trial.root}: the view at height {height}, asked later")
