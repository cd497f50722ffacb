"""Checks what deploys the gateway, without a cluster and without Docker: the chart renders to valid manifests for each kind
and with a control plane, the example manifests are valid, every configuration in them and in docker-compose.yml passes
`lipservice validate`, the parts of docker-compose.yml fit together, the Dockerfile passes hadolint.

Run by tests/deploy/run.sh with the path of the lipservice binary.
"""

import os
import pathlib
import re
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
    """Runs `lipservice validate` on the configuration in each ConfigMap, with the policies beside it; returns them."""
    found = []
    for config_map in [document for document in documents if document["kind"] == "ConfigMap"]:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in config_map["data"].items():
                text = text.replace("/etc/lipservice", folder)
                pathlib.Path(folder, name).write_text(text, encoding="utf-8")
            validate(pathlib.Path(folder, "lipservice.yaml"), folder)
        found.append(yaml.safe_load(config_map["data"]["lipservice.yaml"]))
        passed(f"the configuration in {what} ({found[-1].get('role', 'all')})")
    return found


def validate(config, folder):
    environment = {
        **os.environ,
        "POSTHOG_TOKEN": "phc_test",
        "LIPSERVICE_CLIENT_TOKEN": "test",
        "LIPSERVICE_TOKEN": "lip_test",
        "LIPSERVICE_STORE_URL": "postgres://user:password@host:5432/database",
        "LIPSERVICE_CACHE_URL": "rediss://:password@host:6379/0",
        "POSTGRES_PASSWORD": "test",
        "REDIS_PASSWORD": "test",
    }
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

planned = {"enabled": True, "cache": {"secretName": "redis"}}
rendered = helm_python.Chart.load(CHART).render({"controlPlane": planned}, name="test", namespace="default")
manifests = "\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml"))
documents = check_manifests(manifests, "the chart with a control plane")
if sorted(document["kind"] for document in documents) != sorted(["ConfigMap", "Service", "Deployment"] * 2):
    sys.exit(f"the chart with a control plane renders {documents}")
follower, plane = sorted(check_configuration(documents, "the chart with a control plane"), key=lambda c: c["role"], reverse=True)
services = {document["metadata"]["name"]: document["spec"] for document in documents if document["kind"] == "Service"}
host, port = follower["control_plane"]["endpoint"].removeprefix("http://").split(":")
if [int(port)] != [p["port"] for p in services[host]["ports"] if p["name"] == "api"] or "cache" not in plane:
    sys.exit(f"the gateways follow {host}:{port}, services are {services}, the control plane is {plane}")
pods = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Deployment"}
for name, service in services.items():
    # Each Service reaches its own pods and no others.
    reached = [
        pod for pod, spec in pods.items()
        if service["selector"].items() <= spec["template"]["metadata"]["labels"].items()
        and spec["selector"]["matchLabels"] == service["selector"]
    ]
    if reached != [name]:
        sys.exit(f"the service {name} reaches {reached}")
passed("services and pods of the chart with a control plane")

sidecar = ROOT / "examples" / "sidecar" / "kubernetes.yaml"
check_configuration(check_manifests(sidecar.read_text(encoding="utf-8"), sidecar.name), sidecar.name)

for name in ["sidecar", "gateway"]:
    validate("lipservice.yaml", ROOT / "examples" / name)
    passed(f"examples/{name}/lipservice.yaml from its own folder")



def check_compose(path):
    """What Docker would find out late: versions, health checks, names, settings, configurations."""
    text = path.read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    services = compose["services"]
    example = path.with_name("docker-compose.env.example").read_text(encoding="utf-8")
    given = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    if given != asked:
        sys.exit(f"{path.name} asks for {asked}, docker-compose.env.example gives {given}")
    for name, service in services.items():
        version = service["image"].partition(":")[2]
        if not re.search(r"\d+\.\d+", version):
            sys.exit(f"{name}: {service['image']} has no version")
        if "healthcheck" not in service and "profiles" not in service:
            sys.exit(f"{name} has no health check")
        for other, how in service.get("depends_on", {}).items():
            if other not in services or how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                sys.exit(f"{name} waits for {other}, {how}")
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", [])):
            sys.exit(f"{name} is open to other machines: {service['ports']}")
        volumes = [volume.split(":")[0] for volume in service.get("volumes", [])]
        missing = [v for v in volumes if not (v.startswith(".") and (ROOT / v).exists()) and v not in compose["volumes"]]
        if missing:
            sys.exit(f"{name} mounts {missing}")
        if service["image"].startswith("lipservice:"):
            config = pathlib.Path(service["command"][-1])
            folder = ROOT / "config" / "compose"
            if f"./config/compose:{config.parent}:ro" not in service["volumes"]:
                sys.exit(f"{name} does not see {config}")
            validate(config.name, folder)
            settings = (folder / config.name).read_text(encoding="utf-8")
            wanted = set(re.findall(r"\$\{env:(\w+)\}", settings))
            if not wanted <= service["environment"].keys():
                sys.exit(f"{name} is not given {wanted - service['environment'].keys()}")
            hosts = set(re.findall(r"://(?:[^@/\s]*@)?([\w-]+):\d", settings))
            if not hosts <= services.keys():
                sys.exit(f"{config.name} names {hosts - services.keys()}")
    passed(f"{path.name}: {len(services)} services")


check_compose(ROOT / "docker-compose.yml")

subprocess.run([pathlib.Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], check=True)
passed("Dockerfile")
print(f"deploy: {done} checks passed")
