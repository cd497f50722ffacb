"""Checks what deploys the gateway, without a cluster: the chart renders to valid manifests for each kind, the example
manifests are valid, every configuration in them passes `lipservice validate`, the Dockerfile passes hadolint.

Run by tests/deploy/run.sh with the path of the lipservice binary.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import helm_python
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lipservice"
KUBERNETES = "1.30"
lipservice = pathlib.Path(sys.argv[1]).resolve()
done = 0


def passed(what):
    global done
    done += 1
    print(f"deploy: {what}: ok")


def check_manifests(text, what):
    """Validates every document of a manifest; returns them."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    passed(f"{what} is valid for Kubernetes {KUBERNETES}")
    return documents


def check_configuration(documents, what):
    """Runs `lipservice validate` on the configuration in a ConfigMap, with the policies beside it."""
    (config_map,) = [document for document in documents if document["kind"] == "ConfigMap"]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in config_map["data"].items():
            text = text.replace("/etc/lipservice", folder)
            pathlib.Path(folder, name).write_text(text, encoding="utf-8")
        validate(pathlib.Path(folder, "lipservice.yaml"), folder)
    passed(f"the configuration in {what}")


def validate(config, folder):
    environment = {**os.environ, "POSTHOG_TOKEN": "phc_test", "LIPSERVICE_CLIENT_TOKEN": "test"}
    command = [lipservice, "validate", "--config", config]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    # Warnings are faults here (a policy that does not compile is one), but for open ports: inside a cluster or behind a
    # token in plain text that is the reader's choice, and docs/deployment.md says so.
    warnings = [line for line in run.stderr.splitlines() if "0.0.0.0" not in line]
    if run.returncode != 0 or warnings:
        sys.exit(f"{config}: {run.stdout}{run.stderr}")


report = helm_python.lint(CHART, strict=True)
findings = [message for message in report["messages"] if message["severity"] > 1] + report["errors"]
if findings:
    sys.exit(f"the chart does not lint: {findings}")
passed("the chart lints")

for kind in ["Deployment", "DaemonSet"]:
    rendered = helm_python.Chart.load(CHART).render({"kind": kind}, name="test", namespace="default")
    manifests = "\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml"))
    documents = check_manifests(manifests, f"the chart as {kind}")
    if sorted(document["kind"] for document in documents) != sorted(["ConfigMap", "Service", kind]):
        sys.exit(f"the chart as {kind} renders {documents}")
    check_configuration(documents, f"the chart as {kind}")

sidecar = ROOT / "examples" / "sidecar" / "kubernetes.yaml"
check_configuration(check_manifests(sidecar.read_text(encoding="utf-8"), sidecar.name), sidecar.name)

for name in ["sidecar", "gateway"]:
    validate("lipservice.yaml", ROOT / "examples" / name)
    passed(f"examples/{name}/lipservice.yaml from its own folder")

subprocess.run([pathlib.Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], check=True)
passed("Dockerfile")
print(f"deploy: {done} checks passed")
