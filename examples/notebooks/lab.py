"""A PostHog to read from, a gateway to send through, and the command line's answers as tables.

Without settings the lab starts the stand-in for PostHog (`examples/fake_posthog.rs`, a model, not PostHog) on loopback
with a made-up day of a shop's logs. With POSTHOG_HOST, POSTHOG_PROJECT_ID and POSTHOG_PERSONAL_API_KEY set it reads from
there instead. It never sends anything to a PostHog that it did not start.
"""

import atexit
import datetime
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import textwrap
import urllib.request

import matplotlib.pyplot as plt
import pandas as pd

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ROWS, SEED = 12_000, 1
# The lab's day is small. Costs are shown for traffic this many times as large.
SCALE = 10_000
# PostHog's published price for the first TB, without the free tier, which would hide everything here.
PRICES = {"currency": "$", "free_gb": 0, "tiers": [{"per_gb": 0.25}], "included_days": 14, "retention_days": 14,
          "retention_per_gb_month": 0.05}
# Long windows, because of each pattern one record a window is kept: a busy shop can afford shorter ones.
SAMPLER = "window: { interval: 1h }, summary: { interval: 1h }"
# One window for all, as when a day arrives at once.
SAMPLER_AT_ONCE = "window: { interval: 24h, idle_timeout: 24h }, summary: { interval: 24h }"
# Colours that people with colour blindness can tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
SEVERITY_COLOURS = {"debug": GREY, "info": BLUE, "warn": ORANGE, "error": RED}

plt.rcParams.update({
    "figure.figsize": (9, 4.5), "figure.dpi": 100, "font.size": 10, "axes.titlesize": 12, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#e5e5e5", "figure.constrained_layout.use": True, "legend.frameon": False,
})
pd.set_option("display.max_colwidth", 70)


def program(name, variable):
    """The newest build of a program, or the one that an environment variable names."""
    if found := os.environ.get(variable):
        return found
    built = [REPOSITORY / "target" / profile / name for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        raise FileNotFoundError(f"{name} is not built: cargo build --bin lipservice --example fake_posthog")
    return str(max(built, key=lambda path: path.stat().st_mtime))


class FakePostHog:
    """The stand-in, as a process on loopback."""

    def __init__(self, rows):
        command = [program("examples/fake_posthog", "FAKE_POSTHOG"), "--port", "0", "--rows", str(rows), "--seed", str(SEED)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = "".join(self.process.stdout.readline() for _ in range(3))
        self.settings = dict(re.findall(r"(POSTHOG_\w+)=(\S+)", said))
        if not self.settings:
            raise RuntimeError("the stand-in for PostHog did not start")

    def rows(self):
        """Every row of the last two days, over the logs query API, page by page."""
        now = datetime.datetime.now(datetime.timezone.utc)
        dates = {"date_from": (now - datetime.timedelta(days=2)).isoformat(),
                 "date_to": (now + datetime.timedelta(hours=1)).isoformat()}
        query = {"dateRange": dates, "orderBy": "earliest", "limit": 1000}
        url = "{POSTHOG_HOST}/api/projects/{POSTHOG_PROJECT_ID}/logs/query/".format(**self.settings)
        headers = {"Authorization": f"Bearer {self.settings['POSTHOG_PERSONAL_API_KEY']}", "Content-Type": "application/json"}
        # Loopback is asked directly, whatever proxy this machine has.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        found = []
        while True:
            request = urllib.request.Request(url, json.dumps({"query": query}).encode(), headers)
            with opener.open(request, timeout=60) as answer:
                page = json.load(answer)
            found += page["results"]
            if not page["hasMore"]:
                return found
            query["after"] = page["nextCursor"]

    def close(self):
        self.process.kill()
        self.process.wait()


class Lab:
    """`with Lab() as lab:`, or `lab = Lab()` and `lab.close()` at the end."""

    def __init__(self, rows=ROWS):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lipservice-lab-"))
        self.started = []
        atexit.register(self.close)
        self.environment = dict(os.environ, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
        self.source = None
        if "POSTHOG_HOST" not in os.environ:
            self.source = self.fake(rows)
            self.environment |= self.source.settings
        self.write("prices.json", json.dumps(PRICES))
        self.write("lab.yaml", self.configuration("http://127.0.0.1:9", 0, None))
        self.write("at-once.yaml", self.configuration("http://127.0.0.1:9", 0, None, SAMPLER_AT_ONCE))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends what the lab started and deletes its files."""
        for fake in self.started:
            fake.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def fake(self, rows):
        """Another stand-in, with that many rows."""
        fake = FakePostHog(rows)
        self.started.append(fake)
        return fake

    def write(self, name, text):
        (self.directory / name).write_text(text)

    @staticmethod
    def configuration(host, port, policy, sampler=SAMPLER):
        policies = f", policies: ['{policy}']" if policy else ""
        return textwrap.dedent(f"""\
            receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: '127.0.0.1:{port}' }} }} }} }}
            processors: {{ sampler: {{ {sampler}{policies} }} }}
            exporters: {{ posthog: {{ host: '{host}', token: '${{env:LAB_TOKEN}}' }} }}
            service:
              telemetry: {{ metrics: {{ address: '127.0.0.1:0' }} }}
              pipelines: {{ logs: {{ receivers: [otlp], processors: [sampler], exporters: [posthog] }} }}
            """)

    def run(self, *arguments, passes=(0,)):
        """Runs `lipservice` in the lab's directory; its standard output and error."""
        command = [program("lipservice", "LIPSERVICE"), *arguments]
        environment = self.environment | {"LAB_TOKEN": "phc_lab"}
        done = subprocess.run(command, cwd=self.directory, env=environment, text=True, capture_output=True, timeout=600)
        if done.returncode not in passes:
            raise RuntimeError(f"lipservice {arguments[0]} failed: {done.stderr[-2000:]}")
        return done

    def read(self, command, *arguments, config="lab.yaml", **options):
        """Runs a command on PostHog's history. The history is fetched once; later commands read the lab's copy."""
        kept = "analysed" if command == "analyze" else "replayed"
        common = ["--from", "posthog", "--checkpoint", kept, "--config", config, "--prices", "prices.json"]
        return self.run(command, *common, *arguments, **options)

    def analyze(self):
        """Patterns, series, costs and anomalies of the history."""
        return json.loads(self.read("analyze", "--format", "json").stdout)

    def generate(self, budget):
        """Writes `policy-<budget>.yaml`; what its review found."""
        done = self.read("generate", "--budget", budget, "--json", "--output", f"policy-{budget.strip('%')}.yaml")
        return json.loads(done.stderr[done.stderr.index("\n{") :])

    def simulate(self, policy, config="lab.yaml"):
        """What a replay of the history under a policy keeps and loses. Exit status 3 is a finding, not a failure."""
        arguments = ["--policy", policy, "--format", "json"]
        return json.loads(self.read("simulate", *arguments, config=config, passes=(0, 3)).stdout)

    def through_a_gateway(self, rows, policy):
        """Sends rows through a gateway under a policy into an empty stand-in; the rows that are there afterwards."""
        fake = self.fake(0)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.write("gateway.yaml", self.configuration(fake.settings["POSTHOG_HOST"], port, policy))
        self.write("traffic.jsonl", "\n".join(otlp(rows)))
        gateway = subprocess.Popen(
            [program("lipservice", "LIPSERVICE"), "run", "--config", "gateway.yaml"], cwd=self.directory,
            env=self.environment | {"LAB_TOKEN": "phc_lab"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # `send` tries again until the gateway is up.
            self.run("send", "--file", "traffic.jsonl", "--format", "otlp-json", "--endpoint", f"http://127.0.0.1:{port}")
        finally:
            # It drains, and writes the last summaries, before it ends.
            gateway.terminate()
            gateway.wait(timeout=120)
        return fake.rows()


def otlp(rows, batch=500):
    """Rows as OTLP JSON requests, a service at a time."""
    by_service = {}
    for row in rows:
        by_service.setdefault(row["resource_attributes"]["service.name"], []).append(row)
    for service, members in by_service.items():
        resource = {"attributes": attributes(members[0]["resource_attributes"])}
        for start in range(0, len(members), batch):
            records = [record(row) for row in members[start : start + batch]]
            yield json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})


def attributes(pairs):
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()]


def record(row):
    found = {"timeUnixNano": str(pd.Timestamp(row["timestamp"]).value), "severityNumber": row["severity_number"],
             "severityText": row["severity_text"], "body": {"stringValue": row["body"]},
             "attributes": attributes(row["attributes"])}
    for name, key in (("traceId", "trace_id"), ("spanId", "span_id")):
        if row[key].strip("0"):
            found[name] = row[key]
    return found


def short(template, width=58):
    """A template that fits beside a bar."""
    return textwrap.shorten(template.replace("<*>", "*"), width, placeholder=" …")


def patterns(report):
    """The patterns of `analyze`, largest first, with their costs at `SCALE`."""
    table = pd.DataFrame(report["patterns"])
    table["dollars"] = table["month"] * SCALE
    table["share"] = table["bytes"] / table["bytes"].sum()
    return table.sort_values("bytes", ascending=False, ignore_index=True)


def hours_ago(report):
    """For each step of the series, how long before the end it began, in hours."""
    span = report["span"]
    starts = span["start"] / 1e9 + span["step_seconds"] * pd.RangeIndex(span["steps"]).to_numpy()
    return (starts - span["last"] / 1e9) / 3600


def barh(axes, labels, values, colours, text):
    """Horizontal bars, the first on top, each with its value beside it."""
    bars = axes.barh(range(len(labels)), values, color=colours)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.bar_label(bars, [text(value) for value in values], padding=3, fontsize=9)
    axes.margins(x=0.14)
