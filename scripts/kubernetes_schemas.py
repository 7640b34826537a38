"""Writes tests/examples/kubernetes-schemas.json: what the manifests in examples/kubernetes are compared with.

The schemas of Kubernetes come from the package kubernetes-validate, those of KEDA from cloudcoil-models-keda, in the
versions and with the hashes below. Only the kinds that the examples use are kept, without descriptions: the packages have
110 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
WRITTEN: Final = ROOT / "tests" / "examples" / "kubernetes-schemas.json"
KUBERNETES: Final = "1.37.0"
PACKAGES: Final = f"""
kubernetes-validate=={KUBERNETES} --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
cloudcoil==0.6.0 --hash=sha256:91793dea2e86ad292af143c5d335ce2e5d27dfbe66fd4b945c2f069224cf7698
cloudcoil-models-keda==2.16.1.0 --hash=sha256:9ec4a118def872b68216d9057ef386701b32fcb0ec2173f49c6214d309176b46
"""
MADE: Final = (
    f"by scripts/kubernetes_schemas.py, of Kubernetes {KUBERNETES} and KEDA 2.16.1, whose schemas are under Apache-2.0"
)
KINDS: Final = {
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "networking.k8s.io/v1 NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "v1 ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
}
OF_KEDA: Final = ("ScaledObject", "TriggerAuthentication")
KEPT: Final = {"type", "properties", "required", "items", "enum", "anyOf", "oneOf", "additionalProperties", "$ref"}

Schema = dict[str, Any]


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "packages.txt").write_text(PACKAGES)
        # Without what they depend on: the tests have that.
        words = [
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--target",
            name,
            "--requirement",
            str(folder / "packages.txt"),
        ]
        subprocess.run([sys.executable, "-m", "pip", "install", *words], check=True)
        schemas, definitions = of_kubernetes(folder)
        sys.path.insert(0, name)
        for kind, schema, more in of_keda():
            schemas[kind] = schema
            definitions |= more
    written = {"made": MADE, "kinds": schemas, "$defs": dict(sorted(definitions.items()))}
    WRITTEN.write_text(json.dumps(written, indent=1) + "\n", "utf-8")


def of_kubernetes(folder: Path) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return the schemas of our kinds, and the definitions that they need."""
    file = folder / "kubernetes_validate/kubernetes-json-schema" / f"v{KUBERNETES}-local-strict" / "_definitions.json"
    all_of_them: dict[str, Schema] = json.loads(file.read_text("utf-8"))["$defs"]
    found: dict[str, Schema] = {}
    wanted = list(KINDS.values())
    while wanted:
        if (name := wanted.pop()) not in found:
            found[name] = stripped(all_of_them[name])
            wanted += names_in(found[name])
    return {kind: {"$ref": f"#/$defs/{name}"} for kind, name in KINDS.items()}, found


def of_keda() -> Iterator[tuple[str, Schema, dict[str, Schema]]]:
    """Yield our kinds, each with its schema and the definitions that it needs."""
    models = import_module("cloudcoil.models.keda.v1alpha1")
    for kind in OF_KEDA:
        schema = getattr(models, kind).model_json_schema(by_alias=True)
        more = {
            f"keda.{kind}.{name}": stripped(each, f"keda.{kind}.", strict=True)
            for name, each in schema["$defs"].items()
        }
        yield f"keda.sh/v1alpha1 {kind}", stripped(schema, f"keda.{kind}.", strict=True), more


def stripped(schema: Any, prefix: str = "", *, strict: bool = False) -> Any:
    """Return a schema without what checks nothing.

    Args:
        schema: a schema of a package.
        prefix: for the names of definitions.
        strict: an object has no other fields than those that are named.
    """
    kept: Schema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                kept[key] = {name: stripped(each, prefix, strict=strict) for name, each in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                kept[key] = stripped(value, prefix, strict=strict)
            case "anyOf" | "oneOf":
                kept[key] = [stripped(each, prefix, strict=strict) for each in value]
            case "$ref":
                kept[key] = f"#/$defs/{prefix}{value.rpartition('/')[2]}"
            case _ if key in KEPT:
                kept[key] = value
            case _:
                pass
    if strict and "properties" in kept:
        kept["additionalProperties"] = False
    return kept


def names_in(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            else:
                yield from names_in(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from names_in(each)


if __name__ == "__main__":
    main()
