"""The drawing of the testbed says in words what it shows, and follows the manifests."""

from __future__ import annotations

from meshmodel import catalogue
from meshmodel.teaching.chain import chain


def test_names_callers_policy_and_pods() -> None:
    text = chain(catalogue.experiment("lb-round-robin").mesh()).alt_text
    for part in ("istio-ingressgateway", "simple-web-1", "ROUND_ROBIN", "3 pods", "simple-backend-1-1, 1 s", "simple-backend-2-2, 0.15 s"):
        assert part in text


def test_follows_what_is_applied_and_leaves_the_mesh_alone() -> None:
    mesh = catalogue.experiment("lb-round-robin").mesh()
    before = repr(mesh.warnings)
    deployment = mesh.get("Deployment", "simple-backend-2")
    deployment["spec"]["replicas"] = 9
    mesh.apply(deployment)
    picture = chain(mesh)
    assert "10 pods" in picture.alt_text
    assert picture.get_size_inches()[1] > 5
    assert repr(mesh.warnings) == before


def test_a_pod_that_fails_says_so() -> None:
    assert "ERROR_RATE 1" in chain(catalogue.experiment("locality-failure").mesh()).alt_text
