"""Executes the notebooks beside it, in place with --write, and checks their figures. What the tests run.

Purpose: outputs that are committed come from here, and a notebook that no longer runs is noticed.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 12_000
# What no output may hold: where it was made, and keys.
PRIVATE = (str(HERE.parents[1]), str(pathlib.Path.home()) + "/", tempfile.gettempdir() + "/", "phx_", "phc_")


def volume(found):
    assert found["records"] == ROWS, found
    assert 40 <= found["patterns"] <= 80, found
    assert 1 <= found["patterns_of_half"] <= 15, found
    assert found["dollars"] > 0, found


def budget(found):
    for asked, sent in found["sent_percent"].items():
        # The review allows 1 % of the budget more.
        assert 0 < sent <= float(asked) * 1.01, found
    sent = [found["sent_percent"][asked] for asked in sorted(found["sent_percent"], key=int)]
    assert sent == sorted(sent), found
    assert found["reviews_passed"] and found["errors_lost"] == 0 and found["patterns_lost"] == 0, found


def before_after(found):
    assert found["before"] == ROWS and found["accounted"] == ROWS, found
    assert found["errors_lost"] == 0, found
    assert 1 < found["kept_percent"] < found["promised_percent"] + 1, found
    # The replay of the same arrival. Which records are kept depends on ids that differ between runs: a tenth is a wide bound.
    assert abs(found["kept_percent"] / found["promised_at_once_percent"] - 1) < 0.1, found


def anomaly(found):
    assert "severity_shift" in found["kinds"], found
    # The incident begins near the middle of the records, which come faster in the evening.
    assert -8.5 < found["began_hours"] < -4.5, found
    assert 0 < found["noticed_minutes"] <= 60 and found["patterns"] >= 3 and found["errors"] > 100, found


CHECKS = {"1": volume, "2": budget, "3": before_after, "4": anomaly}


def said(book):
    return "".join(output.get("text", "") for output in book.cells[-1].outputs)


def committed(book, name):
    """Outputs are there, hold no error and no path of the machine that made them."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), f"{name}: not executed"
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"], f"{name}: holds an error"
    assert [output for output in outputs if "image/png" in output.get("data", {})], f"{name}: holds no plot"
    for output in outputs:
        text = output.get("text", "") + "".join(str(v) for k, v in output.get("data", {}).items() if k.startswith("text"))
        assert not any(part in text for part in PRIVATE), f"{name}: {text[:300]}"
        assert output.get("name") != "stderr", f"{name}: {text[:300]}"


def execute(path):
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=600, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(HERE)}})
    # Sockets in a folder of this user's instead of open ports.
    with tempfile.TemporaryDirectory() as folder:
        client.create_kernel_manager()
        client.km.transport, client.km.ip = "ipc", f"{folder}/kernel"
        client.execute()
    return book


def main(arguments):
    # Loopback only, and no PostHog but the stand-in.
    for name in [name for name in os.environ if name.startswith("POSTHOG_")]:
        del os.environ[name]
    wanted = [argument for argument in arguments if argument in CHECKS] or list(CHECKS)
    for number in wanted:
        (path,) = HERE.glob(f"{number}-*.ipynb")
        if "--write" not in arguments:
            committed(nbformat.read(path, as_version=4), path.name)
        start = time.monotonic()
        book = execute(path)
        committed(book, path.name)
        CHECKS[number](json.loads(said(book)))
        if "--write" in arguments:
            book.metadata = {key: book.metadata[key] for key in ("kernelspec",)} | {"language_info": {"name": "python"}}
            nbformat.write(book, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {said(book).strip()}", flush=True)


main(sys.argv[1:])
