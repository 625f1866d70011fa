"""/metrics and /status over HTTP: of a chain, of a stream, asked on and on while a run begins, works and ends. The text is read by a
strict parser of Prometheus' format 0.0.4."""
import json, re, threading, urllib.error, urllib.request
from harness import *
from test_stream import MASK, line, stream

COUNT = {"name": "count", "wasm": str(GUESTS / "filter_count.wasm"), "timeout": "10s"}

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")


def parse(text):
    """{(name, ((label, value), ...)): value}, in which every sample has its family's head right before it."""
    check(text.endswith("\n"), "the last line has no end")
    samples, heads, family, kind = {}, set(), None, None
    lines = iter(text[:-1].split("\n"))
    for text_line in lines:
        if text_line.startswith("#"):
            head = re.fullmatch(rf"# HELP ({NAME}) [^\\]+\.", text_line)
            check(head, text_line)
            family = head[1]
            check(family not in heads, f"{family} comes twice")
            heads.add(family)
            type_line = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", next(lines))
            check(type_line and type_line[1] == family, f"type of {family}")
            kind = type_line[2]
            check((kind == "counter") == family.endswith("_total"), f"{family} is a {kind}")
            continue
        sample = SAMPLE.fullmatch(text_line)
        check(sample and sample[1] == family, text_line)
        labels = tuple(tuple(part) for part in re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"', sample[2] or ""))
        key = (family, labels)
        check(key not in samples, f"{text_line} comes twice")
        check(kind == "gauge" or float(sample[3]) >= 0, text_line)
        samples[key] = float(sample[3])
    return samples


def parser_refuses():
    good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 5\n"
    equal(parse(good), {("a_total", (("x", "1"),)): 5}, "a good text")
    for bad in (good[:-1], good.replace("5", ""), good.replace("# TYPE a_total counter\n", ""), good + good, good + 'a_total{x="1"} 6\n',
                good.replace("counter", "gauge"), good.replace('"1"', '"\n"'), good.replace('"1"', '"\\x"'), good.replace(" 5", " -5"),
                good.replace("a_total{", "b_total{"), "a 5\n"):
        try:
            parse(bad)
        except (AssertionError, StopIteration):
            continue
        check(False, f"the parser takes {bad!r}")


def address(run):
    """Where the log says that it listens."""
    return wait_for("the address", lambda: (re.findall(r"metrics: (http://\S+)/metrics\n", run.text()) or [None])[-1])


def get(url):
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return answer.headers, answer.read().decode()


def scrape(run):
    headers, text = get(address(run) + "/metrics")
    equal(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "type of the text")
    return parse(text)


def value(samples, metric, /, **labels):
    found = [v for (name, ls), v in samples.items() if name == metric and set(labels.items()) <= set(ls)]
    check(len(found) <= 1, f"{metric}{labels} is there {len(found)} times")
    return found[0] if found else None


def documented():
    """The names in the tables of docs/metrics.md."""
    return set(re.findall(r"^\| `(\w+)` \|", (SOURCE / "docs" / "metrics.md").read_text(), re.M))


def made():
    """The names that the source has."""
    source = (SOURCE / "src" / "serve" / "exposition.c").read_text()
    return set(re.findall(r'\{(?:\.name = )?"((?:sorex|process)_\w+)"', source)) | {"sorex_build_info"}


def test_documented(root, _):
    parser_refuses()
    equal(sorted(documented() ^ made()), [], "names that are documented and not made, or the other way round")


def test_chain(root, _):
    file = pipeline_file(root / "pipeline.json", name="filtered", data="data", metrics="127.0.0.1:0", filters=[MASK, COUNT], indexer=UTXO,
                         transforms=[BALANCES], source={"type": "blockfiles", "path": str(BLOCKS)},
                         sinks=[{"type": "file", "path": "out.jsonl"}])
    with Running(file, log=root / "log") as run:
        wait_tip(file, 14131, run)
        samples = scrape(run)
        for name, want in (("sorex_tip_height", 14131), ("sorex_source_height", 14131), ("sorex_lag_entries", 0),
                           ("sorex_entries_applied_total", 14132), ("sorex_entries_undone_total", 0)):
            equal(value(samples, name, pipeline="filtered"), want, name)
        changes = value(samples, "sorex_changes_total")
        check(changes > 10000, changes)
        equal(value(samples, "sorex_filter_events_total", filter="mask", stage="1"), changes, "changes through the filter")
        equal(value(samples, "sorex_filter_metric", filter="count", name="events") > 0, True, "what the guest records")
        equal(value(samples, "sorex_sink_state", sink="file", state="idle"), 1, "sink")
        equal(value(samples, "sorex_sink_behind_records", sink="file"), 0, "sink")
        check(value(samples, "sorex_guest_seconds_total") > 0, "time in guests")
        check(value(samples, "sorex_store_disk_bytes") is not None, "size of the store")
        check(value(samples, "process_resident_memory_bytes") > 1e6 and value(samples, "process_open_fds") > 3, "the process")
        equal({name for name, _ in samples} - documented(), set(), "names that nobody can look up")
        sorex("rollback", file, "--to", 14100)
        wait_tip(file, 14131, run)
        undone = scrape(run)
        equal(value(undone, "sorex_entries_undone_total"), 31, "undone")
        equal(value(undone, "sorex_entries_applied_total"), 14132 + 31, "applied again")
        headers, text = get(address(run) + "/status")
        equal(headers["Content-Type"], "application/json", "type of the status")
        equal(set(json.loads(text)), set(status(file)), "members of the status")
        for path in ("/", "/metrics/x"):
            try:
                get(address(run) + path)
                check(False, f"{path} is there")
            except urllib.error.HTTPError as error:
                equal(error.code, 404, path)
        equal(run.kill(signal.SIGTERM), 0, "exit code")


def test_stream(root, _):
    """Figures of a file that grows."""
    given = root / "in.jsonl"
    given.write_text("".join(map(line, range(1000))))
    file = stream(root, metrics="0", instances=1, source={"type": "lines", "path": "in.jsonl", "follow": True, "on_error": "skip"}, filters=[MASK, COUNT])
    with Running(file, log=root / "log") as run:
        wait_for("1,000 events", lambda: value(scrape(run), "sorex_events_out_total") == 1000)
        with given.open("a") as f:
            f.write("no event\n" + "".join(map(line, range(500))))
        wait_for("500 more", lambda: value(scrape(run), "sorex_events_out_total") == 1500)
        samples = scrape(run)
        for name, want in (("sorex_events_in_total", 1501), ("sorex_events_failed_total", 1), ("sorex_events_dropped_total", 0),
                           ("sorex_events_in_bytes_total", given.stat().st_size - 1501), ("sorex_partition_behind", 0)):
            equal(value(samples, name), want, name)
        equal(value(samples, "sorex_partition_offset", partition="in.jsonl"), given.stat().st_size, "offset")
        for stage, name in (("1", "mask"), ("2", "count")):
            equal(value(samples, "sorex_filter_events_total", filter=name, stage=stage), 1500, f"events through {name}")
        equal(value(samples, "sorex_filter_metric", filter="count", name="events"), 1500, "what the guest records")
        equal(value(samples, "sorex_pipeline_state", state="idle"), 1, "state")
        equal({name for name, _ in samples} - documented(), set(), "names that nobody can look up")
        equal(run.kill(signal.SIGTERM), 0, "exit code")


def test_trouble(root, _):
    """A sink that cannot be reached: its state, its breaker, when it is tried again; of a stream and of a chain."""
    down = {"type": "postgres", "name": "pg", "url": f"host=127.0.0.1 port={free_port()} dbname=x", "breaker_failures": 2,
            "breaker_open": "1h"}
    (root / "in.jsonl").write_text(line(1))
    files = (stream(root, name="s", metrics="0", filters=[], source={"type": "lines", "path": "in.jsonl", "follow": True}, sink=down),
             pipeline_file(root / "c.json", name="c", data="data-c", metrics="0", indexer=UTXO, transforms=[BALANCES],
                           source={"type": "blockfiles", "path": str(BLOCKS)}, sinks=[down, {"type": "file", "path": "c.jsonl"}]))
    for file in files:
        with Running(file, log=root / "log") as run:
            wait_for("an open breaker", lambda: value(scrape(run), "sorex_sink_breaker_state", sink="pg", state="open"))
            samples = scrape(run)
            equal(value(samples, "sorex_sink_state", sink="pg", state="retrying"), 1, "state of the sink")
            check(1700 < value(samples, "sorex_sink_retry_in_seconds", sink="pg") <= 3600, "when it is tried again")
            check(value(samples, "sorex_sink_attempts", sink="pg") >= 2, "attempts")
            equal(value(samples, "sorex_sink_changes_total", sink="pg"), 0, "changes")
            equal(run.kill(signal.SIGTERM), 0, "exit code")
        (root / "log").unlink()


def test_until_the_end(root, _):
    """Asked by several at once while it begins, works and ends: every answer that is whole is right, and the run does not care."""
    count = 60000
    (root / "in.jsonl").write_text("".join(map(line, range(count))))
    port = free_port()
    file = stream(root, metrics=f"localhost:{port}", batch_events=500)
    over, answers = threading.Event(), []

    def ask(path):
        before = 0
        while not over.is_set():
            try:
                _, text = get(f"http://127.0.0.1:{port}{path}")
            except (OSError, urllib.error.URLError):
                continue  # not yet, or not any more
            now = value(parse(text), "sorex_events_in_total") if path == "/metrics" else json.loads(text)["events"]["in"]
            check(before <= now <= count, f"{now} events after {before}")
            before = now
            answers.append(path)

    failures = []

    def asker(path):
        try:
            ask(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=asker, args=(path,)) for path in ("/metrics", "/status", "/metrics")]
    for thread in threads:
        thread.start()
    try:
        done = sorex("run", file)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    equal(failures, [], "failures")
    check(f"{count} events in, {count} out" in done.stdout, done.stdout)
    check({"/metrics", "/status"} <= set(answers), f"only {set(answers)} were answered")


def test_addresses(root, _):
    (root / "in.jsonl").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        err = sorex("run", stream(root, metrics=address), ok=False)
        check(err.returncode != 0 and f"metrics: listen at {address}: Address already in use" in err.stderr, err.stderr)
    err = sorex("run", stream(root, metrics="localhost"), code=2).stderr
    check("is not HOST:PORT" in err, err)
    check("fail  metrics localhost: " in sorex("check", stream(root, metrics="localhost"), code=2).stdout, "check of a wrong one")
    check("ok    metrics 127.0.0.1:9100: " in sorex("check", stream(root, metrics="127.0.0.1:9100")).stdout, "check of a right one")
    sorex("run", stream(root))  # nobody listens who was not asked to


if __name__ == "__main__":
    main(test_documented, test_chain, test_stream, test_trouble, test_until_the_end, test_addresses)
