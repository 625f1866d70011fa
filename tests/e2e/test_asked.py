"""A running pipeline that is asked all the time: several clients at its socket, well-behaved and not, while it indexes, reorganises, rolls
back and ends. Answers agree with each other, whatever moment they were read at; nothing of it changes what is indexed. Under
ThreadSanitizer this is the test of everything that threads share."""
import collections, json, random, signal, socket, struct, threading, time
from harness import *
from test_node import all_equal, fresh_hash, reorganise, setup

STATUS = ["ok", "invalid", "again", "gone", "corrupt", "limit", "nomem", "guest", "io", "mismatch", "busy", "stopped", "fatal"]
ALLOWED = {"gone", "again", "busy", "stopped"}  # what may honestly be answered in the middle of it all


def connect(data):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(DEADLINE)
    s.connect(str(data / "control.sock"))
    return s


def frame(kind, payload):
    return struct.pack("<BI", ord(kind), len(payload)) + payload


def receive(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise ConnectionResetError("the connection ended in the middle of an answer")
        data += part
    return data


def ask(data, verb, **members):
    """One request; (status, text). A connection that is refused or cut is "cut": the pipeline is going away."""
    text = b""
    try:
        with connect(data) as s:
            s.sendall(frame("Q", json.dumps({"verb": verb, **members}).encode()))
            while True:
                kind, size = struct.unpack("<BI", receive(s, 5))
                payload = receive(s, size)
                if kind == ord("D"):
                    text += payload
                elif kind == ord("Z"):
                    return "ok", text.decode()
                else:
                    equal(kind, ord("E"), "kind of a frame")
                    return STATUS[payload[0]], payload[1:].decode()
    except (ConnectionError, FileNotFoundError):
        return "cut", ""


def ill_behaved(data):
    """Half a frame, none at all, too long a one, one that is no JSON, an asker who leaves before the answer."""
    try:
        with connect(data) as s:
            s.sendall(random.choice([b"", b"Q\x10", b"Q\xff\xff\xff\xff", frame("Q", b"{"), frame("X", b"{}"), frame("Q", b"[1]"),
                                     frame("Q", b'{"verb":"dump","program":"utxo"}'), frame("Q", b"Q" * 10)[:9]]))
    except (ConnectionError, FileNotFoundError):
        pass


class Askers:
    """Threads that ask until they are told to end; the first surprise is kept and raised then."""

    def __init__(self, data, *turns):
        self.ended = threading.Event()
        self.surprise = None
        self.answers = collections.Counter()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._ask, args=(data, turn), daemon=True) for turn in turns]
        for thread in self.threads:
            thread.start()

    def _ask(self, data, turn):
        try:
            while not self.ended.is_set():
                for verb, status in turn(data):
                    with self.lock:
                        self.answers[verb, status] += 1
                    if status == "cut":
                        return
        except Exception as e:
            self.surprise = self.surprise or e

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
            check(not thread.is_alive(), "an asker was never answered")
        if self.surprise:
            raise self.surprise

    def wait(self, run, *verbs):
        """Until each of these was answered once more."""
        before = {v: self.answers[v, "ok"] for v in verbs}
        end = time.monotonic() + DEADLINE
        while any(self.answers[v, "ok"] == before[v] for v in verbs):
            check(run.alive() and not self.surprise, f"{self.surprise}; {run.text()[-2000:]}")
            check(time.monotonic() < end, f"some were never answered: {dict(self.answers)}")
            time.sleep(0.02)


def expect(verb, answer):
    """The answer's text when it is one."""
    status, text = answer
    check(status in ALLOWED | {"ok", "cut"}, f"{verb}: {status}: {text}")
    return text if status == "ok" else None


class Supply:
    """How many coins there are depends on the height alone, whatever the branch: so every answer for one height must be the same."""

    def __init__(self):
        self.at = {}
        self.lock = threading.Lock()

    def told(self, text):
        answer = json.loads(text)
        with self.lock:
            equal(answer["result"], self.at.setdefault(answer["height"], answer["result"]), f"coins at height {answer['height']}")


def looks(supply, blocks):
    """The turns of the askers. blocks: a list of (height, raw hex) that previews take from."""

    def views(data):
        height = random.choice([None, random.randrange(0, 170)])
        answer = ask(data, "view", name="supply", input="", json=True, **({} if height is None else {"height": height}))
        text = expect("view", answer)
        if text is not None:
            supply.told(text)
        yield "view", answer[0]

    def previews(data):
        height, block = random.choice(blocks)
        answer = ask(data, "preview", name="supply", input="", block=block, height=height - 1, json=True)
        text = expect("preview", answer)
        if text is not None:
            equal(json.loads(text)["height"], height, "height of a preview")
            supply.told(text)
        yield "preview", answer[0]

    def readers(data):
        answer = ask(data, "status", json=random.choice([True, False]))
        expect("status", answer)
        yield "status", answer[0]
        answer = ask(data, "hash", program=random.choice(["utxo", "balances"]), json=True)
        expect("hash", answer)
        yield "hash", answer[0]
        answer = ask(data, "rows", program="balances", limit=5, json=True)
        expect("rows", answer)
        yield "rows", answer[0]
        answer = ask(data, "dump", program="utxo", height=random.randrange(0, 170))
        expect("dump", answer)
        yield "dump", answer[0]

    def mistakes(data):
        ill_behaved(data)
        for verb, members in (("view", {"name": "nothing", "input": ""}), ("view", {"name": "supply", "input": "0g"}), ("dump", {}),
                              ("preview", {"name": "supply", "input": "", "block": "00"}), ("rollback", {"height": 10**9}),
                              ("hash", {"program": "absent"}), ("nonsense", {}), ("status", {"height": -1})):
            answer = ask(data, verb, **members)
            check(answer[0] in ALLOWED | {"invalid", "guest", "cut"}, f"{verb} {members}: {answer}")
            yield "mistake", answer[0]

    back_from = 0  # a rollback waits until what the one before it undid is there again: on a slow machine, indexing would never get on

    def rollbacks(data):
        nonlocal back_from
        status, text = ask(data, "status", json=True)
        yield "status", status
        heights = json.loads(text)["heights"] if status == "ok" else {}
        tip, source = heights.get("durable"), heights.get("source")
        if tip is not None and source is not None and tip > 4 and tip >= min(back_from, source):
            back_from = tip
            answer = ask(data, "rollback", height=tip - random.randrange(0, 4))
            expect("rollback", answer)
            yield "rollback", answer[0]

    return views, views, previews, previews, readers, readers, mistakes, rollbacks


def test_asked_all_the_time(root, stack):
    node, pg, file = setup(root, stack, poll_ms="20ms", group_ms=20)
    data = root / "data"
    node.call("generate", 60)
    blocks = [(h, node.call("getblock", node.call("getblockhash", h), 0)) for h in range(40, 60)]
    supply = Supply()
    with Running(file, log=root / "log") as run:
        wait_for("the socket", lambda: ask(data, "status")[0] == "ok")
        askers = Askers(data, *looks(supply, blocks))
        for depth, more in ((0, 20), (1, 1), (3, 5), (1, 0), (8, 3), (2, 12)):
            reorganise(node, depth, more) if depth else node.call("generate", more)
            askers.wait(run, "view", "preview", "status", "hash", "rows", "dump", "rollback")
        askers.end()
        wait_tip(file, node.height(), run)
        all_equal(root, pg, file)
        # ... and it ends in the middle of the questions, with a client that says nothing and one that does not read
        askers = Askers(data, *looks(supply, blocks))
        with connect(data), connect(data) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.sendall(frame("Q", b'{"verb":"dump","program":"utxo"}'))
            askers.wait(run, "view", "preview", "dump")
            equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
        askers.end()
        check("abandoned" not in run.text(), run.text()[-2000:])
    sorex("run", file, "--until", "tip")
    all_equal(root, pg, file)
    equal((state_hash([file]), state_hash([file], "balances")), fresh_hash(root, node, "fresh"), "state after all the questions")


def test_views_that_loop(root, _):
    """They run beside the indexing, which is not held up, and end with the pipeline: the asker is told why."""
    file = pipeline_file(root / "p.json", name="loops", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)},
                         indexer={"name": "views", "wasm": str(GUESTS / "tiny_indexer_views.wasm"), "watchdog": 100})
    told = []
    with Running(file, log=root / "log") as run:
        wait_for("the first blocks", lambda: ((status(file) or {}).get("heights") or {}).get("durable"))
        threads = [threading.Thread(target=lambda: told.append(ask(root / "data", "view", name="spin", input="")), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for("the watchdog's warning", lambda: "program views at height" in run.text() and "running for" in run.text())
        wait_tip(file, 14131, run)
        equal(ask(root / "data", "view", name="echo", input="61", height=7)[1].strip(), "0x0700000061", "a view beside those that loop")
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
        for thread in threads:
            thread.join(60)
        equal([t[0] for t in told], ["stopped"] * 3, f"what the askers were told ({told})")
        check("abandoned" not in run.text(), run.text()[-2000:])
    equal(status(file)["heights"]["durable"], 14131, "height")


if __name__ == "__main__":
    main(test_asked_all_the_time, test_views_that_loop)
