"""The drawing of the testbed says in words what it shows, and follows the manifests."""

from __future__ import annotations

from matplotlib.text import Text

from meshmodel import catalogue
from meshmodel.teaching.chain import chain

from .traces import tree


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


def test_several_calls_of_a_pod_stand_below_one_another_in_their_order() -> None:
    picture = chain(tree())
    text = picture.alt_text
    for part in (
        "web-0: calls cart, then backend",
        "cart, 2 pods: calls db",
        "db is 1 pod: db-0, 0 s",
        "backend is 3 pods: backend-0, 1 s",
    ):
        assert part in text
    first, second = "\N{CIRCLED DIGIT ONE} cart, 2 pods", "\N{CIRCLED DIGIT TWO} backend-0"
    told = [(t.get_text().replace("\n", " "), t.get_position()) for t in picture.findobj(Text)]
    shown = {name: next(at for text, at in told if text.startswith(name)) for name in ("web-0", first, "db-0", second)}
    assert shown["web-0"][0] < shown[first][0] < shown["db-0"][0] == shown[second][0]
    assert shown["db-0"][1] > shown[second][1]
