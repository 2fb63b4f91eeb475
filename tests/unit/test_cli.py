"""The command line: what each verb prints and writes, and one line with exit status 2 for anything that cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshmodel.__main__ import main
from meshmodel.mesh import Mesh
from meshmodel.results import fortio

DATA = Path(__file__).parents[2] / "data" / "tutorial"
MANIFESTS = DATA / "manifests"
TESTBED, SLOW, RANDOM = (str(MANIFESTS / name) for name in ("testbed.yaml", "slow-backend-1.yaml", "dr-random.yaml"))
LOCALITIES = str(MANIFESTS / "localities.yaml")
FAILING, EJECTING, TIMEOUT = (
    str(MANIFESTS / name) for name in ("failing-backend-1-500.yaml", "dr-outlier-detection.yaml", "vs-timeout.yaml")
)
QUICK = ("--replications", "5")
LAYOUT = {
    "scenario",
    "engine",
    "replications",
    "seed",
    "requests",
    "figures",
    "codes",
    "endpoints",
    "attempts",
    "series",
    "counters",
    "fortio",
}


@pytest.fixture
def run(capsys):
    """Runs a command line that must succeed; returns its standard output and the lines of its standard error."""

    def run(*words: str) -> tuple[str, list[str]]:
        status = main(words)
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out, printed.err.splitlines()

    return run


@pytest.fixture
def refused(capsys):
    def refused(*words: str) -> str:
        status = main(words)
        printed = capsys.readouterr()
        assert (status, printed.out) == (2, "")
        assert printed.err.startswith("meshmodel: ") and printed.err.count("\n") == 1 and printed.err.endswith("\n")
        return printed.err

    return refused


def process(*words: str, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(DATA.parents[1])}
    return subprocess.Popen([sys.executable, "-m", "meshmodel", *words], env=environment, stderr=subprocess.PIPE, **options)


# --- the verbs ----------------------------------------------------------------------------


def test_load_prints_fortios_text_then_the_figures_and_warns(run):
    out, err = run("load", TESTBED, SLOW, "-c", "4", "-qps", "100", "-t", "10s", *QUICK, "--seed", "3")
    mesh = Mesh().apply(TESTBED, SLOW)
    replay = mesh.fortio_load(4, 100, "10s", replications=5, seed=3)
    overhead, blank, text = out.split("\n", 2)
    assert overhead.startswith("overhead: ") and "tutorial's ROUND_ROBIN record" in overhead and not blank
    assert text.startswith(replay.histogram(0).run_text().strip())
    assert out.endswith(replay.table() + "\n")
    assert err == [f"warning: {warning}" for warning in mesh.warnings] and err
    assert fortio.Histogram.from_text(out).count == replay.requests[0]


@pytest.mark.parametrize(
    "words",
    [
        (TESTBED, RANDOM, "-c", "4", "-t", "5s"),
        ("-c", "4", TESTBED, "-t", "5s", RANDOM),
        ("-c4", "-t=5s", TESTBED, RANDOM),
    ],
)
def test_flags_and_files_stand_in_any_order(run, words):
    out, _ = run("load", *words, *QUICK)
    assert out == run("load", "-t", "5s", "-c", "4", TESTBED, RANDOM, *QUICK)[0]


def test_files_are_applied_in_order_and_a_directory_whole(run, tmp_path):
    for file in (TESTBED, SLOW):
        (tmp_path / f"{'a' if file == TESTBED else 'b'}.yaml").write_text(Path(file).read_text())
    assert run("curl", str(tmp_path), *QUICK) == run("curl", TESTBED, SLOW, *QUICK)
    assert run("curl", TESTBED, SLOW, *QUICK)[0] != run("curl", SLOW, TESTBED, *QUICK)[0]


def test_json_has_the_documented_layout(run, tmp_path):
    out = tmp_path / "out.json"
    text, _ = run("load", TESTBED, "-t", "5s", *QUICK, "--seed", "9", "--json", str(out))
    written = json.loads(out.read_text())
    assert LAYOUT <= written.keys() and text
    assert (written["engine"], written["replications"], written["seed"]) == ("montecarlo", 5, 9)
    assert list(written["figures"]) == ["count", "avg", "p50", "p75", "p90", "p99", "p99.9"]
    shares = [
        written["figures"]["avg"],
        written["codes"]["200"],
        written["endpoints"]["simple-backend-1"],
        written["attempts"]["per_request"],
    ]
    assert all(share.keys() == {"mean", "lo", "hi"} for share in shares)
    assert written["requests"] == pytest.approx(5 * written["figures"]["count"]["mean"])
    assert written["series"]["bin"] == 1 and written["series"].keys() >= {"codes", "endpoints"}
    assert fortio.Histogram.from_json(written["fortio"]).count > 0


def test_json_to_standard_output_stands_alone(run):
    out, err = run("curl", TESTBED, "-n", "3", *QUICK, "--json", "-")
    assert json.loads(out)["figures"]["count"]["mean"] == 3 and err


def test_curl_counts_bodies_and_codes_as_uniq_does(run):
    out, _ = run("curl", TESTBED, TIMEOUT, SLOW, "-n", "30", *QUICK)
    replay = Mesh().apply(TESTBED, TIMEOUT, SLOW).curl(30, replications=5)
    lines = out.splitlines()
    quick, slow = int(replay.codes[200][0]), int(replay.codes[500][0])
    assert quick > slow > 0
    assert f'{quick:4d} "Hello from simple-backend-2"' in lines and f"{slow:4d} null" in lines
    assert lines.index(f"{quick:4d} 200") + 1 == lines.index(f"{slow:4d} 500")


def test_predict_answers_without_a_random_number(run):
    words = ("predict", TESTBED, SLOW, RANDOM, "-c", "10", "-t", "60s")
    out, _ = run(*words)
    assert out == run(*words)[0] and "approximation: " in out
    assert json.loads(run(*words, "--json", "-")[0])["engine"] == "analytic"
    assert "All done 50 calls" in run("predict", TESTBED, "-n", "50", "-c", "1", "-qps", "0")[0]


def test_an_open_loop_has_a_rate_or_segments(run):
    paced = json.loads(run("load", TESTBED, "--rate", "20", "-t", "5s", "--arrivals", "paced", *QUICK, "--json", "-")[0])
    assert paced["figures"]["count"] == {"mean": 100, "lo": 100, "hi": 100}
    ramp = json.loads(
        run("load", TESTBED, "--segment", "2s:0:20", "--segment", "1s:20:20", "--arrivals", "paced", *QUICK, "--json", "-")[0]
    )
    assert ramp["figures"]["count"]["mean"] == 40
    assert json.loads(run("predict", TESTBED, "--rate", "20", "-t", "5s", "--json", "-")[0])["figures"]["count"]["mean"] == pytest.approx(
        100
    )


def test_a_manifest_can_be_applied_during_the_load(run):
    out, _ = run("load", TESTBED, "--rate", "10", "-t", "8s", "--at", "4s", FAILING, *QUICK, "--json", "-")
    errors = json.loads(out)["series"]["codes"]["500"]
    assert sum(errors[:4]) == 0 < sum(errors[4:])


def test_flags_of_the_mesh_reach_it(run):
    def figures(*words: str) -> dict:
        return json.loads(run("curl", TESTBED, "-n", "20", *QUICK, "--json", "-", *words)[0])

    assert figures("--overhead", "1s")["figures"]["avg"]["mean"] > 1 > figures("--overhead", "3ms")["figures"]["avg"]["mean"]
    assert figures("--target", "simple-backend")["scenario"] != figures()["scenario"] != figures("--istio", "1.24")["scenario"]
    assert figures("--workers", "5")["scenario"]["workers"] == 5
    assert figures("--connect-time", "mtls")["scenario"]["connect_time"] == 0.0007
    failing = str(MANIFESTS / "failing-backend-1-500-0.75.yaml")
    counted = figures(failing)["codes"]["500"]["mean"]
    assert figures(failing, "--injector", "nominal")["codes"]["500"]["mean"] < counted
    assert figures(failing, "--errors", "coin")["codes"]["500"]["mean"] < counted
    assert figures(failing, "--percentiles", "prose")["codes"]["500"]["mean"] == counted


def test_the_resolution_is_fortios(run):
    words = ("load", TESTBED, SLOW, "-t", "20s", *QUICK)
    assert "<= 0.2 ," in run(*words, "-r", "0.0001")[0]
    assert "<= 0.16 ," not in run(*words, "-r", "0.0001")[0] and "<= 0.16 ," in run(*words)[0]


def test_compare_reads_fortios_records_and_our_own(run, tmp_path):
    out = str(tmp_path / "model.json")
    run("load", TESTBED, SLOW, RANDOM, *QUICK, "--json", out)
    text, err = run("compare", out, str(DATA / "round-robin.txt"))
    assert "round-robin" in text and "outside the 95 % interval" in text
    assert err == ["warning: round-robin: recorded with resolution 0.0001, not 0.001: make the figures with -r 0.0001"]
    assert "joint p-value 1.0000" in run("compare", out, out)[0]
    text, err = run("compare", out, out, str(DATA / "least-conn.txt"))
    assert "model" in text and "least-conn" in text
    record = tmp_path / "record.json"
    record.write_text(json.dumps(fortio.read_record(DATA / "least-conn.txt").to_json()))
    written = json.loads(run("compare", out, str(record), "--json", "-")[0])
    assert {row["figure"]: row["recorded"] for row in written["rows"]}["count"] == 2059


def test_replay_shows_model_beside_record(run):
    out, _ = run("replay", "lb-least-conn", "--replications", "50")
    assert out.split("\n\n", 1)[1].startswith(
        "lb-least-conn: LEAST_CONN with one slow pod in three\napplied: testbed.yaml, slow-backend-1.yaml, dr-least-conn.yaml\n"
    )
    assert "Aggregated Function Time : count " in out and "2,059.0" in out and "outside the 95 % interval: " in out
    loop, _ = run("replay", "retry-gateway-error-500", "--replications", "50")
    assert "count 500" in loop and " null\n" in loop
    assert "the tutorial recorded nothing" in run("replay", "lb-random", *QUICK)[0]


def test_an_experiment_of_the_real_envoy_is_replayed_beside_its_record(run):
    out, _ = run("replay", "random-2-workers", "--replications", "20")
    assert out.split("\n\n", 1)[1].startswith("random-2-workers: RANDOM\napplied: pods-one-slow.yaml, dr-random.yaml\n")
    assert "the tutorial recorded nothing" in out and "real Envoy" in out


def test_list_names_every_experiment(run):
    from meshmodel import catalogue

    out, err = run("list")
    assert [line.split()[0] for line in out.splitlines()[2:]] == catalogue.names() and not err


def test_routes_and_endpoints_are_istioctls_tables(run):
    table, rules = run("routes", TESTBED, TIMEOUT)[0].strip().split("\n\n")
    assert table == Mesh().apply(TESTBED, TIMEOUT).proxy_config_routes()
    assert rules.startswith("Of the rules that came or went with a version, Istio 1.17 here: ") and "\n" not in rules
    files = (TESTBED, LOCALITIES, FAILING, EJECTING)
    configured, _ = run("endpoints", *files)
    later, _ = run("endpoints", *files, "--at", "3s", "-t", "5s", "-c", "1", "-qps", "10")
    assert configured.count("HEALTHY") == 3 and "FAILED" not in configured
    assert later.count("HEALTHY") == 3 and later.count("FAILED") == 1


def test_measure_prints_envoys_configuration(run):
    import yaml

    documents = list(yaml.safe_load_all(run("measure", "--print-config", TESTBED, TIMEOUT)[0]))
    assert len(documents) == 2 and all("static_resources" in document for document in documents)


def test_a_chapter_is_copied_without_its_solutions(run, tmp_path):
    import nbformat

    cell = nbformat.v4.new_code_cell("check('x', 1)", metadata={"tags": ["solution"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("1 + 1")]), tmp_path / "chapter.ipynb")
    run("student", str(tmp_path / "chapter.ipynb"), str(tmp_path / "copy.ipynb"))
    assert [cell.source for cell in nbformat.read(tmp_path / "copy.ipynb", 4).cells] == ["1 + 1"]


@pytest.mark.parametrize(
    "verb",
    [
        "",
        "replay",
        "load",
        "curl",
        "predict",
        "measure",
        "compare",
        "diff",
        "calibrate",
        "report",
        "routes",
        "endpoints",
        "list",
        "student",
    ],
)
def test_every_verb_has_help(run, verb):
    out, _ = run(*verb.split(), "-h")
    assert out.startswith(f"usage: meshmodel {verb}".strip())


def test_what_does_not_print_is_shown_not_obeyed(run, tmp_path):
    """Escapes, line breaks and reversals in free text: an answer's body, a record's and a manifest's file name."""
    hostile = r'"\e[31m\u202e\x9b31m$x$\n1000 \"forged\""'
    message = Path(TESTBED).read_text().replace('"Hello from simple-backend-1"', hostile)
    assert hostile in message
    (tmp_path / "m\x1b[31m.yaml").write_text(message)
    out, err = run("curl", str(tmp_path), "-n", "30", *QUICK, "--seed", "1")
    assert r"\u001b[31m\u202e\x9b31m$x$\n1000" in out and all(line.isprintable() for line in [*out.splitlines(), *err])
    record, model = tmp_path / "r\x1b[31m\n$x$.txt", str(tmp_path / "model.out")
    record.write_bytes((DATA / "least-conn.txt").read_bytes())
    run("load", TESTBED, "-t", "2s", *QUICK, "--json", model)
    for records in ([str(record)], [str(record), str(DATA / "round-robin.txt")]):
        out, err = run("compare", model, *records)
        assert r"r\x1b[31m\n$x$" in out and all(line.isprintable() for line in [*out.splitlines(), *err])


# --- bad input ----------------------------------------------------------------------------

ISTIO = "apiVersion: networking.istio.io/v1beta1\nkind: %s\nmetadata: {name: bad, namespace: istioinaction}\nspec: "
RULE = ISTIO.replace("%s", "DestinationRule") + "{host: simple-backend, trafficPolicy: %s}\n"
SERVICE = ISTIO.replace("%s", "VirtualService") + "{hosts: [simple-backend], http: [%s]}\n"
POD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: backend}
spec:
  replicas: %s
  selector: {matchLabels: {app: backend}}
  template: {metadata: {labels: {app: backend}}, spec: {containers: [{name: backend, env: %s}]}}
"""
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (RULE % "{loadBalancer: {simpel: RANDOM}}", "did you mean 'simple'"),
        (RULE % "{outlierDetection: {consecutive5xxErrors: many}}", "must be a whole number"),
        (RULE % "{outlierDetection: {interval: -5s}}", "must be 1ms or more"),
        (RULE % "{outlierDetection: {maxEjectionPercent: 150}}", "must be from 0 to 100, got 150"),
        (RULE % '{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {"a/b/*": 60}}]}}}', "must sum to 100"),
        (SERVICE % "{route: [{destination: {host: nowhere}}]}", "nowhere"),
        (POD % (-1, "[]"), "replicas: must be from 0 to 1000"),
        (POD % (1, '[{name: ERROR_RATE, value: "2"}]'), "ERROR_RATE"),
        ("", "empty"),
        (b"\x7fELF\x02\x01\x00\xff\xfe", "not a text file"),
        (BOMB, "aliases"),
        (BOMB + "# " + "x" * 10_000_000, "larger than 1 MB"),
    ],
    ids=[
        *("unknown field", "wrong type", "negative duration", "percent", "distribute", "unknown host", "replicas", "error rate", "empty"),
        *("binary", "bomb", "10 MB bomb"),
    ],
)
def test_a_bad_manifest_is_one_line(refused, tmp_path, content, part):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    begun = time.process_time()
    message = refused("load", TESTBED, str(file), "-t", "1s", *QUICK)
    assert part in message and "bad.yaml" in message
    assert time.process_time() - begun < 5  # of this process's own CPU


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "VERB"),
        (("lod", TESTBED), "lod"),
        (("load",), "FILE"),
        (("load", "no-such-file.yaml"), "no-such-file.yaml: no such file"),
        (("load", TESTBED, "-c", "0"), "connections: must be a whole number of 1 or more"),
        (("load", TESTBED, "-c", "ten"), "-c"),
        (("load", TESTBED, "-t", "-5s"), "-5s"),
        (("load", TESTBED, "-t", "60"), "60"),
        (("load", TESTBED, "-t", "0s"), "duration"),
        (("load", TESTBED, "-qps", "nan"), "qps"),
        (("load", TESTBED, "-n", "0"), "calls"),
        (("load", TESTBED, "--replications", "0"), "replications"),
        (("load", TESTBED, "--replications", "100000000"), "fewer replications"),
        (("load", TESTBED, "--seed", "-1"), "seed"),
        (("load", TESTBED, "-r", "0"), "-r"),
        (("load", TESTBED, "-c", "1_0"), "argument -c: must be a whole number, got '1_0'"),
        (("load", TESTBED, "-c", " 5"), "argument -c: must be a whole number"),
        (("load", TESTBED, "-c", "５"), "argument -c: must be a whole number"),
        (("load", TESTBED, "-c", "9" * 5000), "argument -c: must be a whole number, got '999"),
        (("load", TESTBED, "-c", "10000000"), "connections: must be at most 1,000,000"),
        (("load", TESTBED, "-qps", "1_0.5"), "argument -qps: must be a number"),
        (("load", TESTBED, "-qps", "1" * 5000), "argument -qps: must be a number, got '111"),
        (("load", TESTBED, "-qps", "1e-300"), "qps: must be 0, or from 1e-6 to 1e9, got 1e-300"),
        (("load", TESTBED, "-qps", "1e300"), "qps: must be 0, or from 1e-6 to 1e9"),
        (("load", TESTBED, "-t", "1" * 20_000), "duration: must be a duration"),
        (("load", TESTBED, "--rate", "1e-300"), "rate: must let some request arrive"),
        (("load", TESTBED, "--rate", "1e300"), "rate: needs positive seconds and rates from 0 to 1e9"),
        (("load", TESTBED, "--segment", "5s:1:1_0"), "argument --segment: must be TIME:FIRST:LAST"),
        (("load", TESTBED, "-r", "0x1"), "argument -r: must be a number"),
        (("load", TESTBED, "--workers", "99999"), "workers: must be at most 1,000"),
        (("load", TESTBED, "--users", "99999"), "users: must be from 0 to 65000"),
        (("load", TESTBED, "--json", "a\0b"), "argument --json: no path has a NUL character"),
        (("load", "x" * 5000), "cannot be read: File name too long"),
        (("load", "a\x1b[31m\nb.yaml"), r"a\x1b[31m\nb.yaml: no such file"),
        (("load\x1b[31m\n",), r"load\x1b[31m\n"),
        (("load", TESTBED, "-nocatchup"), "-nocatchup: not modelled"),
        (("load", TESTBED, "-uniform"), "-uniform: not modelled"),
        (("load", TESTBED, "-jitter"), "-jitter: not modelled"),
        (("load", TESTBED, "-keepalive=false"), "-keepalive"),
        (("load", TESTBED, "--rate", "5", "-c", "3"), "closed loop"),
        (("load", TESTBED, "--rate", "-5"), "rate"),
        (("load", TESTBED, "--segment", "5s:1"), "TIME:FIRST:LAST"),
        (("load", TESTBED, "--segment", "5s:1:1", "-t", "5s"), "--segment"),
        (("load", TESTBED, "--json", "no/such/folder/out.json"), "no such folder"),
        (("load", TESTBED, "--at", "-1s", SLOW), "--at"),
        (("load", TESTBED, "--at", "20s", "no-such-file.yaml"), "no such file"),
        (("curl", TESTBED, "-n", "-3"), "n: must be a whole number"),
        (("curl", TESTBED, "--istio", "2.0"), "istio"),
        (("curl", TESTBED, "--injector", "coin"), "injector"),
        (("curl", TESTBED, "--errors", "nominal"), "errors: must be one of counter, coin"),
        (("curl", TESTBED, "--percentiles", "nominal"), "percentiles: must be one of program, prose"),
        (("curl", TESTBED, "--overhead", "soon"), "overhead"),
        (("curl", TESTBED, "--connect-time", "tls"), "connect_time"),
        (("curl", TESTBED, "--target", "simple-backed"), "simple-backed"),
        (("curl", TESTBED, "--locality", "a.b.c.d"), "locality"),
        (("curl", TESTBED, "--workers", "0"), "workers"),
        (("curl", RANDOM), "no Gateway"),
        (("curl", ""), "FILE '': empty"),
        (("predict", TESTBED, "--replications", "5"), "--replications"),
        (("endpoints", TESTBED, "--at", "soon"), "soon"),
        (("replay", "lb-least-con"), "did you mean lb-least-conn?"),
        (("student", "no-such.ipynb", "copy.ipynb"), "no-such.ipynb"),
        (("compare", "no-such.json", str(DATA / "least-conn.txt")), "no-such.json"),
        (("compare", TESTBED, str(DATA / "least-conn.txt")), "not JSON"),
    ],
)
def test_a_bad_command_line_is_one_line(refused, words, part):
    message = refused(*words)
    assert part in message and message.rstrip("\n").isprintable() and len(message) < 600


def test_a_directory_without_manifests_is_refused(refused, tmp_path):
    assert "holds no .yaml file" in refused("load", str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n\xe2\xe3", b"", b"\x00\x01", b"{", b"[1]", b"{}", b'{"fortio": 3}', b"[" * 100_000, b"hello\n"]
)
def test_a_record_or_outcome_that_is_none_is_refused(refused, run, tmp_path, content):
    model, bad = tmp_path / "model.json", tmp_path / "bad"
    run("curl", TESTBED, *QUICK, "--json", str(model))
    bad.write_bytes(content)
    assert "bad" in refused("compare", str(model), str(bad))
    assert "bad" in refused("compare", str(bad), str(DATA / "least-conn.txt"))


# --- as a process -------------------------------------------------------------------------


def test_a_process_ends_with_status_2_and_one_line():
    with process("load", "no-such-file.yaml") as refused:
        assert refused.stderr.read().count(b"\n") == 1
    assert refused.returncode == 2


def test_a_reader_that_goes_away_is_no_error():
    with process("list", stdout=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""


def test_ctrl_c_ends_quietly():
    with process("load", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as load:
        load.stdin.write(b"#" * 1_000_000)  # more than a pipe holds: when it is written, the command is reading
        load.send_signal(signal.SIGINT)
        assert load.stderr.read() == b""
        load.stdin.close()
    assert load.returncode == 130
