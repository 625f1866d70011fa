"""The two sides of a comparison, both behind a Unix socket for psql: a native PostgreSQL of the test's own, and the embedded one behind
pg_host. Both have the same settings."""
import os, pathlib, signal, shutil, subprocess

from harness import Postgres, check, free_port, wait_for

# What psql prints, and how results are rounded and ordered, depends on these; they are pg_regress's. The rest is what the embedded one
# is started with (src/pg/instance.c), for which a server has to be asked.
SETTINGS = {"timezone": "'PST8PDT'", "datestyle": "'Postgres, MDY'", "intervalstyle": "'postgres_verbose'"}
NATIVE_SETTINGS = {"search_path": "public", "allow_system_table_mods": "on", "max_parallel_workers_per_gather": "0",
                   "max_parallel_workers": "0", "max_parallel_maintenance_workers": "0", "shared_buffers": "8MB",
                   "max_stack_depth": "500kB", "fsync": "off", "listen_addresses": "", "autovacuum": "off"}


class Server:
    """data: a folder of files that scripts read. Its copy and a folder that they write to have a path of the same length on both sides, as
    psql's columns are as wide as what is in them."""

    def __init__(self, root, name, data):
        self.dir = root / name
        self.dir.mkdir()
        self.port = free_port()
        self.files = self.dir / "files"
        shutil.copytree(data, self.files / "data")
        (self.files / "results").mkdir()
        os.chmod(self.files / "results", 0o777)

    def psql(self, script, *words, out, seconds, variables=()):
        """Runs a script file through psql as pg_regress does; its output goes to a file. False: it took too long."""
        variables = [word for variable in variables for word in ("-v", variable)]
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "PGHOST": str(self.dir),
                       "PGPORT": str(self.port), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGCLIENTENCODING": "UTF8",
                       "PG_ABS_SRCDIR": str(self.files), "PG_ABS_BUILDDIR": str(self.files), "PG_LIBDIR": "/nonexistent",
                       "PG_DLSUFFIX": ".so"}
        with open(script, "rb") as stdin, open(out, "wb") as stdout:
            try:
                subprocess.run(["psql", "-X", *words, *variables], stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, cwd=out.parent,
                               env=environment, timeout=seconds, check=False)
            except subprocess.TimeoutExpired:
                return False
        return True


class Native(Server):
    def __init__(self, root, data):
        super().__init__(root, "native", data)
        self.base = Postgres.__new__(Postgres)
        self.base.find_binaries()
        os.chown(self.dir, self.base.user.pw_uid, self.base.user.pw_gid)
        self.base._run(self.base.bin / "initdb", "-D", self.dir / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
                       "--locale=C.UTF-8")
        settings = {**SETTINGS, **NATIVE_SETTINGS}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value.strip(chr(39))}")]
        self.process = subprocess.Popen([str(self.base.bin / "postgres"), "-D", str(self.dir / "data"), "-k", str(self.dir), "-p",
                                         str(self.port), *words], stdout=open(self.dir / "log", "ab"), stderr=subprocess.STDOUT,
                                        preexec_fn=self.base._demote, cwd="/")
        wait_for("the native server", lambda: (self.dir / f".s.PGSQL.{self.port}").exists())

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=60)


class Embedded(Server):
    def __init__(self, root, data):
        super().__init__(root, "hosted", data)
        build = pathlib.Path(os.environ["SOREX_BUILD"])
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen([os.environ["SOREX_PG_HOST"], build / "postgres", build / "postgres-cache",
                                         self.dir / f".s.PGSQL.{self.port}", self.files,
                                         *(f"{name}={value}" for name, value in SETTINGS.items())], stderr=self.log)
        wait_for("the embedded server",
                 lambda: self.process.poll() is not None or (self.dir / f".s.PGSQL.{self.port}").exists())
        check(self.process.poll() is None, "pg_host ended: " + self.said())

    def said(self):
        return (self.dir / "log").read_text()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
