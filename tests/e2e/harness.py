"""What the end-to-end tests share: a scratch directory, the program, a real PostgreSQL, a real Bitcoin node, an independent fold of
the change stream. Standard library only. Every server listens on loopback, has a directory of its own and is stopped by process id."""
import base64, contextlib, json, os, pathlib, pwd, random, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

SOURCE = pathlib.Path(os.environ["SOREX_SOURCE_DIR"])
SOREX = os.environ["SOREX_BIN"]
GUESTS = pathlib.Path(os.environ["SOREX_GUESTS"])
BLOCKS = SOURCE / "examples" / "blocks"
DEADLINE = float(os.environ.get("SOREX_TEST_DEADLINE", 60))  # longer with sanitizers (CMakePresets.json)
# What the program gets: not the SOREX_ variables of the tests themselves, of which it would say that they are no settings.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SOREX_")}
SKIP_CODE = 77


def skip(why):
    print("SKIPPED:", why)
    sys.exit(SKIP_CODE)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def equal(got, want, what):
    check(got == want, f"{what}: got {str(got)[:500]}, want {str(want)[:500]}")


def wait_for(what, condition, deadline=DEADLINE):
    """Polls a condition; a test never sleeps for its own sake."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"gave up waiting for {what}")
        time.sleep(0.02)


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def scratch():
    path = pathlib.Path(tempfile.mkdtemp(prefix="sorex-e2e-"))
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sorex(*words, ok=True, code=None, cwd=None, env=None, timeout=300):
    """Runs the program; returns the finished process (text)."""
    done = subprocess.run([SOREX, *map(str, words)], capture_output=True, text=True, timeout=timeout, cwd=cwd,
                          env=dict(ENVIRONMENT, **(env or {})))
    if code is not None:
        equal(done.returncode, code, f"exit code of sorex {' '.join(map(str, words))} ({done.stderr.strip()[-800:]})")
    elif ok:
        check(done.returncode == 0, f"sorex {' '.join(map(str, words))} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    return done


class Running:
    """`sorex run` in the background."""

    def __init__(self, *words, log=None, env=None):
        self.log = log
        self.output = open(log, "ab") if log else subprocess.DEVNULL
        self.process = subprocess.Popen([SOREX, "run", *map(str, words)], stdout=self.output, stderr=self.output,
                                        env=dict(ENVIRONMENT, **(env or {})))

    def alive(self):
        return self.process.poll() is None

    def kill(self, how=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def status(pipeline):
    done = sorex("status", pipeline, "--json", ok=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def wait_tip(pipeline, height, run=None, deadline=DEADLINE):
    """Until the height is durable and every sink has it."""
    def there():
        if run is not None:
            check(run.alive(), "sorex run ended: " + (run.text()[-2000:] if run.log else ""))
        s = status(pipeline)
        if not s or s["heights"]["durable"] != height or s["heights"]["lag"] != 0:
            return None
        return s if all(sink["behind"] == 0 for sink in s.get("sinks", [])) else None
    return wait_for(f"height {height}", there, deadline)


def pipeline_file(path, **sections):
    """Writes a pipeline as JSON, which is YAML."""
    path.write_text(json.dumps(sections, indent=1))
    return path


UTXO = {"name": "utxo", "wasm": str(GUESTS / "utxo.wasm")}
BALANCES = {"name": "balances", "wasm": str(GUESTS / "balances.wasm")}


def fold_changes(text):
    """The rows that a change stream leaves, by an independent fold that also checks every before image."""
    rows = {}
    for number, line in enumerate(text.splitlines()):
        change = json.loads(line)
        p = change["payload"]
        at = (p["table"], p["key"])
        if p["operation"] == "create":
            check(at not in rows, f"line {number + 1}: create of an existing row {at}")
            rows[at] = p["after"]
        elif p["operation"] == "update":
            equal(rows.get(at), p["before"], f"line {number + 1}: before of {at}")
            rows[at] = p["after"]
        else:
            equal(rows.pop(at, None), p["before"], f"line {number + 1}: before of {at}")
    return rows


def engine_rows(target, height=None, program="balances"):
    """The rows as the engine has them."""
    words = ["rows", *target, "--program", program, "--limit", "100000", "--json"]
    if height is not None:
        words += ["--height", height]
    return {(r["table"], r["key"]): r["row"] for r in json.loads(sorex(*words).stdout)["rows"]}


def state_hash(target, program="utxo", height=None):
    words = ["state", "hash", *target, "--program", program, "--json"]
    if height is not None:
        words += ["--height", height]
    got = json.loads(sorex(*words).stdout)
    return got["state"], got["commitment"]


def binary(name, *places):
    for place in places:
        if place and os.access(place, os.X_OK):
            return str(place)
    return shutil.which(name)


class Postgres:
    """A server of its own: initdb, postgres, a Unix socket and a port, an unprivileged user."""

    def __init__(self, root):
        self.find_binaries()
        self.dir = root / "pg"
        self.dir.mkdir()
        self.port = free_port()
        if os.getuid() == 0:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        self._run(self.bin / "initdb", "-D", self.dir / "data", "-U", "sorex", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        self.process = None
        self.start()

    def find_binaries(self):
        versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self.bin = next((v for v in versions if (v / "postgres").exists()), None)
        if self.bin is None:
            skip("no PostgreSQL server binaries")
        self.user = pwd.getpwnam("postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody")

    def _demote(self):
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)

    def _run(self, *words):
        subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       preexec_fn=self._demote, cwd="/")

    def start(self):
        self.process = subprocess.Popen(
            [str(self.bin / "postgres"), "-D", str(self.dir / "data"), "-k", str(self.dir), "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB"],
            stdout=open(self.dir / "log", "ab"), stderr=subprocess.STDOUT, preexec_fn=self._demote, cwd="/")
        wait_for("PostgreSQL", lambda: self.sql("select 1", check_it=False) == [["1"]])

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def url(self):
        return f"host=127.0.0.1 port={self.port} user=sorex dbname=postgres"

    def sql(self, text, check_it=True):
        done = subprocess.run([str(self.bin / "psql"), "-X", "-A", "-t", "-F", "\x1f", "-d", self.url(), "-c", text],
                              capture_output=True, text=True)
        if check_it:
            check(done.returncode == 0, f"psql: {done.stderr}")
        return [line.split("\x1f") for line in done.stdout.splitlines()] if done.returncode == 0 else None

    def close(self):
        if self.process.poll() is None:
            self.stop(signal.SIGQUIT)


class Broker:
    """A real Kafka broker, and what a test does to its topics (tests/kafka/kafka_tool.c)."""

    def __init__(self):
        self.tool = os.environ["SOREX_KAFKA_TOOL"]
        self.process = subprocess.Popen([self.tool, "broker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line.startswith("address "):
            if self.process.wait() == SKIP_CODE:
                skip(line)
            check(False, f"no broker: {line}")
        self.address = line.split()[1]

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        equal(self.process.stdout.readline(), "ok\n", f"broker: {word}")

    def do(self, verb, topic, *more, given=None):
        return subprocess.run([self.tool, verb, self.address, topic, *map(str, more)], check=True, stdout=subprocess.PIPE, input=given).stdout

    def read(self, topic):
        return self.do("read", topic)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Node:
    """btcd on regtest."""

    def __init__(self, root):
        self.binary = binary("btcd", os.environ.get("BTCD"), SOURCE / "build" / "deps" / "bin" / "btcd")
        if self.binary is None:
            skip("no btcd (make test-deps builds it)")
        self.dir = root / "btcd"
        self.port = free_port()
        self.process = None
        self.saved = []  # btcd forgets a regtest chain when it starts: the blocks are handed in again
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.binary, "--regtest", f"--datadir={self.dir}", f"--logdir={self.dir}/logs", "--rpcuser=u", "--rpcpass=p", "--notls",
             f"--rpclisten=127.0.0.1:{self.port}", "--nolisten", "--txindex", "--rpcmaxclients=100",
             "--miningaddr=mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("btcd", lambda: self.call("getblockcount", quiet=True) is not None)
        for block in self.saved:
            self.call("submitblock", block)

    def call(self, method, *params, quiet=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/",
                                         json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params}).encode(),
                                         {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["result"]
        except OSError:
            if quiet:
                return None
            raise

    def height(self):
        return self.call("getblockcount")

    def stop(self, how=signal.SIGTERM):
        self.saved = [self.call("getblock", self.call("getblockhash", h), 0) for h in range(1, self.height() + 1)]
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def close(self):
        self.process.kill()
        self.process.wait(timeout=60)

    def source(self):
        return {"type": "bitcoind", "url": f"http://127.0.0.1:{self.port}", "user": "u", "password": "p"}


def main(*tests):
    """Runs the test functions in order, each in a scratch directory; the first failure ends with its text."""
    seed = int(os.environ.get("SOREX_TEST_SEED", "20260101"))
    print("seed", seed)
    for test in tests:
        random.seed(seed)
        started = time.monotonic()
        with scratch() as root, contextlib.ExitStack() as stack:
            test(root, stack)
        print(f"ok {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
