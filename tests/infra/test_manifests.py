"""What `infra/` ships for other machines: each file is held against the schema of what will read it, and is safe."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator, Draft202012Validator, ValidationError
from referencing import Registry, Resource

from tests.ray.servers import BIN, Server, free_port

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "v1.37.0-local-strict"
MANIFESTS = sorted((INFRA / "kuberay").glob("*.yaml"))
COMPOSE = INFRA / "compose.yaml"
SECRET_NAME = re.compile("PASSWORD|SECRET|TOKEN|KEY", re.IGNORECASE)


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{sorted(twice)} twice", node.start_mark)
        self.flatten_mapping(node)
        return dict(super().construct_mapping(node, deep=deep))


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, Loader=StrictLoader))


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values below `value`, each with where it is."""
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from parts(child, f"{path}/{key}")


def all_documents() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, document) for path in sorted(INFRA.rglob("*.yaml")) for document in documents(path.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in all_documents() if document.get("kind") == kind]


@pytest.fixture(scope="module")
def kubernetes() -> Registry[Any]:
    """Kubernetes' definitions, under the names by which its schemas and ours refer to them."""
    folder = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema" / KUBERNETES
    definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    known = [(f"{base}/_definitions.json", definitions) for base in ("https://k8s", "/api")]
    kuberay = Resource.from_contents(json.loads((SCHEMAS / "kuberay.json").read_text()))
    return Registry().with_resources([*known, (kuberay.id() or "", kuberay)])


def require_valid(document: dict[str, Any], kubernetes: Registry[Any]) -> None:
    """Raises `ValidationError` for what the API server would refuse, or drop in silence."""
    group, _, version = document["apiVersion"].rpartition("/")
    if group == "ray.io":
        schema: dict[str, Any] = {"$ref": f"https://kuberay/ray.io-v1.json#/$defs/{document['kind']}"}
    else:
        stem = "-".join([document["kind"].lower(), *([group.split(".")[0]] if group else []), version])
        folder = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema" / KUBERNETES
        schema = json.loads((folder / f"{stem}.json").read_text())
    Draft202012Validator(schema, registry=kubernetes).validate(document)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_would_take_each_manifest(path: Path, kubernetes: Registry[Any]) -> None:
    read = documents(path.read_text())
    assert read
    for document in read:
        require_valid(document, kubernetes)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "crystalsweep"


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("raycluster", "enableInTreeAutoscaling:", "enableInTreeAutoscalling:"),
        ("raycluster", "mode: token", "mode: tokens"),
        ("raycluster", "runAsNonRoot:", "runAsNonroot:"),
        ("raycluster", "maxReplicas: 8", 'maxReplicas: "8"'),
        ("rayjob", "submissionMode: K8sJobMode", "submissionMode: K8SJobMode"),
        ("rayjob", "mountPath: /dev/shm", "mountpath: /dev/shm"),
        ("mlflow", "replicas: 1", "replica: 1"),
        ("mlflow", "policyTypes: [Ingress]", "policyTypes: Ingress"),
        ("storage", "ReadWriteMany", "ReadWriteMany, 5"),
    ],
)
def test_a_slip_in_a_manifest_is_found(file: str, right: str, wrong: str, kubernetes: Registry[Any]) -> None:
    text = (INFRA / "kuberay" / f"{file}.yaml").read_text()
    assert right in text
    with pytest.raises(ValidationError):
        for document in documents(text.replace(right, wrong)):
            require_valid(document, kubernetes)


def test_a_key_that_is_there_twice_is_found() -> None:
    with pytest.raises(yaml.YAMLError, match="twice"):
        documents("a: 1\nb: {c: 1, c: 2}\n")


def test_the_compose_file_follows_the_specification() -> None:
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text())
    schema["properties"]["name"] = {"type": "string"}  # of the project: newer than this schema
    (compose,) = documents(COMPOSE.read_text())
    Draft201909Validator(schema).validate(compose)
    for service in compose["services"].values():
        assert {"healthcheck", "networks", "secrets", "cap_drop", "restart"} <= service.keys()
        assert service["image"].startswith("crystalsweep-") or re.search(r":\d+\.\d+", service["image"])
    slip = copy.deepcopy(compose)
    slip["services"]["mlflow"]["heathcheck"] = slip["services"]["mlflow"].pop("healthcheck")
    with pytest.raises(ValidationError):
        Draft201909Validator(schema).validate(slip)
    used = {name for service in compose["services"].values() for name in service["secrets"]}
    assert used == compose["secrets"].keys()
    mounted = {
        mount.partition(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])
    }
    assert mounted == compose["volumes"].keys()


def test_ray_up_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (cluster,) = documents((INFRA / "ray" / "cluster.yaml").read_text())
    validate_config(prepare_config(copy.deepcopy(cluster)))
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(cluster | {"idle_timeouts": 5}))


def test_nothing_is_published_beyond_this_machine() -> None:
    (compose,) = documents(COMPOSE.read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert compose["networks"]["stores"]["internal"] is True
    for path, document in all_documents():
        for where, value in parts(document):
            if isinstance(value, dict):
                assert not {"hostPort", "nodePort", "externalIPs"} & value.keys(), (path, where)
                assert not value.get("hostNetwork"), (path, where)
                assert value.get("network_mode") != "host", (path, where)
                assert value.get("serviceType", "ClusterIP") == "ClusterIP", (path, where)
        assert document.get("kind") not in {"Ingress", "Gateway", "HTTPRoute"}
        assert document.get("kind") != "Service" or document["spec"]["type"] == "ClusterIP"
    policies = of_kind("NetworkPolicy")
    closed = [policy for policy in policies if policy["spec"]["podSelector"] == {} and "ingress" not in policy["spec"]]
    assert closed, "some policy closes what no other opens"


def test_ray_asks_for_its_token_everywhere() -> None:
    clusters = [found["spec"] for found in of_kind("RayCluster")]
    clusters += [found["spec"]["rayClusterSpec"] for found in of_kind("RayJob")]
    assert len(clusters) == 2
    assert all(cluster["authOptions"] == {"mode": "token"} for cluster in clusters)
    (cluster,) = documents((INFRA / "ray" / "cluster.yaml").read_text())
    for command in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]:
        assert "ray start" not in command or "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=" in command.split("ray start")[0]
    script = (INFRA / "slurm" / "sweep.sbatch").read_text()
    assert (
        "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=" in script.split("ray symmetric-run --")[0].split("\nsrun")[0]
    )
    assert "RAY_AUTH_MODE=token" in (INFRA / "docker" / "Dockerfile").read_text()
    for path in INFRA.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert not re.search(r"RAY_AUTH_MODE\W+disabled|mode: disabled", path.read_text(errors="replace")), path


def test_secrets_are_referred_to_and_never_written() -> None:
    """A value whose name says that it is secret comes from a Secret or from a file; no address holds a password."""
    for path, document in all_documents():
        assert document.get("kind") != "Secret", path
        for where, value in parts(document):
            if isinstance(value, str):
                assert not re.search(r"://[^/@\s]*:[^/@\s]+@", value), (path, where)
            if not isinstance(value, dict):
                continue
            if SECRET_NAME.search(str(value.get("name", ""))) and "mountPath" not in value:
                assert "value" not in value, (path, where)
            for environment in (value.get("environment"), value.get("data")):
                for name, given in (environment or {}).items():
                    if SECRET_NAME.search(name):
                        assert str(given).startswith(("/run/secrets/", "${")), (path, where, name)
    (compose,) = documents(COMPOSE.read_text())
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("${CRYSTALSWEEP_SECRETS:?")


def test_pods_have_what_they_need_and_no_privileges() -> None:
    templates = [
        value["template"] for _, document in all_documents() for _, value in parts(document) if _is_group(value)
    ]
    templates += [job["spec"]["submitterPodTemplate"] for job in of_kind("RayJob")]
    assert len(templates) == 6
    for template in templates:
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert (
                container["resources"]["requests"].keys()
                == container["resources"]["limits"].keys()
                >= {"cpu", "memory"}
            )
            if "submitter" not in container["name"]:
                assert {"readinessProbe", "livenessProbe"} <= container.keys()
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def _is_group(value: Any) -> bool:
    return isinstance(value, dict) and "template" in value


def test_the_job_has_the_cluster_that_jobs_share() -> None:
    (cluster,), (job,) = of_kind("RayCluster"), of_kind("RayJob")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    spec = cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = spec["workerGroupSpecs"]
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert workers["minReplicas"] < workers["maxReplicas"]
    (claim,) = of_kind("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (spec["headGroupSpec"], workers):
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
        assert volumes["storage"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = [found for found in project["dependencies"] if found.startswith("ray[")]
    assert {found["spec"]["rayVersion"] for found in of_kind("RayCluster")} == {ray.partition("==")[2]}
    servers = "".join(path.read_text() for path in (COMPOSE, INFRA / "kuberay" / "mlflow.yaml"))
    assert set(re.findall(r"\bpostgresql[+\w]*://", servers)) == {"postgresql+psycopg2://"}, "the image's only driver"
    torch = re.findall(r"torch==[\d.]+", (INFRA / "docker" / "Dockerfile").read_text())
    assert set(torch) == set(re.findall(r"torch==[\d.]+", (ROOT / "Makefile").read_text()))


def test_an_image_gets_the_projects_dependencies_and_not_its_code() -> None:
    script = [sys.executable, str(INFRA / "docker" / "dependencies.py"), str(ROOT / "pyproject.toml")]
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert subprocess.check_output(script, text=True).splitlines() == required
    (mlflow,) = [found for found in required if found.startswith("mlflow")]
    with_extra = subprocess.check_output([*script, "mlflow[auth]"], text=True).strip()
    assert with_extra == mlflow.replace("mlflow", "mlflow[auth]")
    unknown = subprocess.run([*script, "mlflwo"], capture_output=True, text=True, check=False)
    assert "pyproject.toml requires no mlflwo" in unknown.stderr
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]]
    assert all(name == "pyproject.toml" or name.startswith("infra/docker/") for name in copied)


def test_the_dockerfile_is_clean() -> None:
    command = [str(BIN / "hadolint"), "--config", "infra/docker/hadolint.yaml", "infra/docker/Dockerfile"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", dockerfile, re.MULTILINE)
    assert re.search(r":3\.11\.\d+-slim", base)
    for stage in re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[2:]:
        assert "USER ${UID}" in stage, stage.splitlines()[0]


def shell_scripts() -> list[str]:
    """Of the repository, by ending or by first line."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).split("\n")
    there = [name for name in listed if (ROOT / name).is_file()]
    return [
        name
        for name in there
        if Path(name).suffix in {".sh", ".sbatch"} or re.match(rb"#!.*\b(ba)?sh\b", (ROOT / name).read_bytes()[:64])
    ]


def test_shell_scripts_are_clean() -> None:
    scripts = shell_scripts()
    assert {"infra/slurm/sweep.sbatch", "infra/sweep_or_resume.sh", ".ci/run"} <= set(scripts)
    command = [str(BIN / "shellcheck"), "--external-sources", *scripts]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.skipif(not shutil.which("sbatch") or not os.environ.get("SLURM_CONF"), reason="needs a Slurm cluster")
def test_slurm_would_schedule_the_sweep(tmp_path: Path) -> None:
    command = ["sbatch", "--test-only", "infra/slurm/sweep.sbatch", "sweeps/w_pos.py"]
    environment = os.environ | {"CRYSTALSWEEP_STORAGE": str(tmp_path)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_sbatch_script_says_what_it_lacks() -> None:
    bare = {"PATH": os.environ["PATH"]}
    script = ["bash", str(INFRA / "slurm" / "sweep.sbatch")]
    for arguments, given, told in (
        ([], {}, "a file in sweeps/"),
        (["sweeps/w_pos.py"], {}, "a file system that all nodes share"),
        (["sweeps/w_pos.py"], {"CRYSTALSWEEP_STORAGE": "/nowhere"}, "submit this with sbatch"),
    ):
        ran = subprocess.run([*script, *arguments], env=bare | given, capture_output=True, text=True, check=False)
        assert ran.returncode != 0
        assert told in ran.stderr


def test_a_sweep_that_was_begun_is_resumed(tmp_path: Path) -> None:
    """With a `python` that prints what it was asked: that sweeps resume is tested where sweeps are."""
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" "$PYTHONPATH"\n')
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PID_FILE": str(tmp_path / "pid")}
    command = ["bash", str(INFRA / "sweep_or_resume.sh"), str(tmp_path), "sweeps/w_pos.py", "--preset", "smoke"]
    paths = f"{ROOT / 'platform'}:{ROOT}\n"
    begun = f"sweeps/w_pos.py --storage {tmp_path}"
    assert subprocess.check_output(command, env=environment, text=True) == f"{begun} --preset smoke {paths}"
    assert (tmp_path / "pid").read_text().strip().isdigit()
    for name, expected in (("gan_noise-1", "--preset smoke"), ("w_pos-20260101-000000", "--resume latest")):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "sweep.json").write_text("{}")
        assert subprocess.check_output(command, env=environment, text=True) == f"{begun} {expected} {paths}"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([str(INFRA / "docker" / "make-secrets.sh"), str(folder)], check=True, capture_output=True)
    return folder


def test_secrets_are_made_once_and_for_their_owner_alone(secrets: Path) -> None:
    (compose,) = documents(COMPOSE.read_text())
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert made.keys() == compose["secrets"].keys()
    assert all(re.fullmatch("[0-9a-f]{64}", content) for content in made.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
    told = subprocess.check_output([str(INFRA / "docker" / "make-secrets.sh"), str(secrets)], text=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made
    assert not any(content in told for content in made.values())


def test_a_server_without_its_secrets_does_not_start(tmp_path: Path) -> None:
    for script, given in (
        ("serve-store.sh", {"DATA": str(tmp_path / "data")}),
        ("serve-mlflow.sh", {"BACKEND_STORE": "sqlite://", "ARTIFACT_STORE": str(tmp_path)}),
    ):
        environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "SECRETS": str(tmp_path / "none")} | given
        command = ["bash", str(INFRA / "docker" / script)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode != 0
        assert "is missing, empty or not readable" in ran.stderr


def status(address: str, user: str = "", host: str = "") -> int:
    asked = urllib.request.Request(address)
    if user:
        asked.add_header("Authorization", "Basic " + b64encode(user.encode()).decode())
    if host:
        asked.add_header("Host", host)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.server
def test_the_images_servers_ask_for_passwords_that_no_process_list_shows(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts that the images start, here without images: the store, and MLflow with its artifacts in it."""
    boto3 = pytest.importorskip("boto3")
    (compose,) = documents(COMPOSE.read_text())
    ports = {"store": free_port(), "mlflow": free_port()}
    given = {name: dict(compose["services"][name]["environment"]) for name in ports}
    given["store"] |= {"ADDRESS": f"127.0.0.1:{ports['store']}", "DATA": str(tmp_path / "data")}
    given["mlflow"] |= {"HOST": "127.0.0.1", "PORT": str(ports["mlflow"]), "WORKERS": "1"}
    given["mlflow"] |= {"BACKEND_STORE": f"sqlite:///{tmp_path}/mlflow.db"}
    given["mlflow"] |= {"MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports['store']}"}
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("SECRETS", str(secrets))
    servers = []
    try:
        for name in ("store", "mlflow"):
            variables = [f"{key}={value}" for key, value in given[name].items()]
            command = ["env", *variables, "bash", str(INFRA / "docker" / f"serve-{name}.sh")]
            servers.append(Server(command, ports[name], tmp_path / f"{name}.log"))
            servers[-1].start()
        password = (secrets / "mlflow_admin_password").read_text()
        asked = f"http://127.0.0.1:{ports['mlflow']}/api/2.0/mlflow/experiments/get?experiment_id=0"
        deadline = time.monotonic() + 120
        while (found := status(asked, f"admin:{password}")) != 200 and time.monotonic() < deadline:
            time.sleep(1)
        assert found == 200, (tmp_path / "mlflow.log").read_text()
        assert status(asked) == 401
        assert status(asked, "admin:wrong") == 401
        assert status(asked, f"admin:{password}", host="mlflow:5000") == 200
        assert status(asked, f"admin:{password}", host="elsewhere.example.org") == 403

        artifact = f"http://127.0.0.1:{ports['mlflow']}/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
        put = urllib.request.Request(artifact, data=b"crystal", method="PUT")
        put.add_header("Authorization", "Basic " + b64encode(f"admin:{password}".encode()).decode())
        urllib.request.urlopen(put, timeout=60)
        endpoint = f"http://127.0.0.1:{ports['store']}"
        keys = {"aws_access_key_id": (secrets / "store_access_key").read_text()}
        keys |= {"aws_secret_access_key": (secrets / "store_secret_key").read_text()}
        store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        assert store.get_object(Bucket="mlflow", Key="a/b.txt")["Body"].read() == b"crystal"
        stranger = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", **keys | {"aws_secret_access_key": "x"}
        )
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            stranger.list_objects_v2(Bucket="mlflow")

        shown = subprocess.check_output(["ps", "-eo", "args", "-ww"], text=True)
        written = "".join(log.read_text() for log in tmp_path.glob("*.log"))
        for secret in secrets.iterdir():
            assert secret.read_text() not in shown + written, secret.name
    finally:
        for server in servers:
            server.kill()
