"""docs/guides/reducers.md works when typed: its files are written, its commands run, what they print is what the guide says.

usage: test_guide.py BUILD_DIR

A block ```LANGUAGE PATH is a file, ```sh is typed in the checkout, and a block ```text behind it is what that printed; "..." there stands
for anything: times, and hashes that depend on the compiler."""
import os, pathlib, re, subprocess, sys, tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
GUIDE = SOURCE / "docs" / "guides" / "reducers.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


def checkout(root, build):
    """A folder that looks like the checkout after `make`."""
    for name in ("guests", "examples"):
        (root / name).symlink_to(SOURCE / name)
    (root / "build").mkdir()
    (root / "build" / "release").symlink_to(build)


def fits(shown, output):
    pattern = re.escape(shown.rstrip()).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in output.rstrip().split("\n")), re.S)


def main():
    build, typed, shown = pathlib.Path(sys.argv[1]).resolve(), 0, 0
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SOREX_")}
    environment["PATH"] = f"{build}/src:{environment['PATH']}"
    with tempfile.TemporaryDirectory(prefix="sorex-guide-") as folder:
        root, output = pathlib.Path(folder), None
        checkout(root, build)
        for kind, path, text in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
            if path:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            elif kind == "sh":
                done = subprocess.run(["sh", "-e", "-c", text], cwd=root, env=environment, capture_output=True, text=True, check=False)
                if done.returncode != (9 if "# exit code 9" in text else 0):
                    sys.exit(f"{text}exit code {done.returncode}\n{done.stdout}{done.stderr}")
                output, typed = done.stdout, typed + 1
            elif kind == "text":
                if not fits(text, output):
                    sys.exit(f"the guide says\n{text}\nbut the commands print\n{output}")
                shown += 1
    if typed < 8 or shown < 4:
        sys.exit(f"{typed} commands and {shown} outputs: is this the guide?")
    print(f"{typed} blocks of commands, {shown} outputs")


main()
