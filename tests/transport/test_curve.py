import json
import re
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from transport.curve import CurveError, CurveKey, Gate, check_public, create, explain, load


def test_a_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "curve.key"

    made = create(path)

    assert load(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "curve.key"
    made = create(path)

    with pytest.raises(CurveError, match=r"curve.key: exists"):
        create(path)
    assert load(path) == made


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666, 0o777])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "curve.key"
    create(path)
    path.chmod(mode)

    with pytest.raises(CurveError, match=r"chmod 600 .*curve.key"):
        load(path)


def test_a_missing_key_is_made_by_what_the_error_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "front's.key"
    with pytest.raises(CurveError) as missing:
        load(path)
    told = re.search(r'python -c "(.*)"', str(missing.value))
    assert told

    exec(told[1])

    assert load(path).public == capsys.readouterr().out.strip()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match=r"curve.key: No such file"):
        load(tmp_path / "curve.key")


GOOD = CurveKey.draw()
SECRET = GOOD.secret.reveal().decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\ud800",
        SECRET,
        json.dumps({"public": GOOD.public}),
        json.dumps({"public": GOOD.public, "secret": SECRET[:-5]}),
        json.dumps({"public": GOOD.public, "secret": 7}),
        json.dumps({"public": GOOD.public, "secret": SECRET[:-1] + "~"}),
        json.dumps({"public": SECRET[:-1], "secret": SECRET}),
        json.dumps({"public": CurveKey.draw().public, "secret": SECRET}),
    ],
    ids=map(str, range(11)),  # the texts are drawn anew in each process
)
def test_a_file_that_holds_no_pair_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curve.key"
    path.touch(mode=0o600)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    with pytest.raises(CurveError, match=r"curve.key: ") as no:
        load(path)
    assert SECRET[:8] not in str(no.value)


def test_a_key_does_not_show_its_secret_half() -> None:
    assert SECRET not in repr(GOOD)


@pytest.mark.parametrize("text", ["", "a" * 39, "a" * 45, "~" * 40, "é" * 40, "#" * 40])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(CurveError):
        check_public(text)


def test_a_public_key_is_taken() -> None:
    assert check_public(GOOD.public) == GOOD.public


def judge(gate: Gate, *rest: bytes, version: bytes = b"1.0") -> bytes:
    code, _, user = gate._judge(version, list(rest))
    assert bool(user) == (code == b"200")
    return code


def test_the_gate_opens_for_a_known_curve_key_and_nothing_else() -> None:
    octets, other = zmq.utils.z85.decode(GOOD.public), bytes(32)
    with zmq.Context() as context, closing(Gate(context, lambda key: key == GOOD.public)) as gate:
        known = (b"protokms", b"127.0.0.1", b"", b"CURVE", octets)

        assert judge(gate, *known) == b"200"
        assert gate.refused == 0
        assert judge(gate, *known[:4], other) == b"400"
        assert judge(gate, b"other", *known[1:]) == b"400"
        assert judge(gate, b"", *known[1:]) == b"400"
        assert judge(gate, *known[:3], b"NULL") == b"400"
        assert judge(gate, *known[:3], b"PLAIN", b"name", b"password") == b"400"
        assert judge(gate, *known, octets) == b"400"
        assert judge(gate, *known[:4]) == b"400"
        assert judge(gate, *known[:4], octets + b"a") == b"400"
        assert judge(gate) == b"400"
        assert judge(gate, *known, version=b"2.0") == b"400"
        assert gate.refused == 10


def test_the_gate_tells_whom_it_has_turned_away() -> None:
    octets = zmq.utils.z85.decode(GOOD.public)
    with zmq.Context() as context, closing(Gate(context, lambda key: False)) as gate:
        judge(gate, b"protokms", b"10.0.0.7", b"", b"CURVE", octets)
        judge(gate, b"protokms", b"\xff" * 200, b"", b"CURVE", octets + b"a")
        judge(gate)

        first, second, third = gate.answer()

        assert first == ("10.0.0.7", GOOD.public[:8])
        assert (len(second.address), second.key) == (64, "")
        assert third == ("", "")
        assert gate.answer() == []


def test_a_gate_that_admits_everybody_fails_its_probe() -> None:
    with zmq.Context() as context:
        gate = Gate(context, lambda key: True)

        with pytest.raises(CurveError, match="gate"):
            gate.probe()
        gate.close()


def test_a_gate_that_is_shut_passes_its_probe() -> None:
    with zmq.Context() as context:
        gate = Gate(context, lambda key: False)

        gate.probe()

        assert gate.refused == 0
        gate.close()


def test_one_context_has_one_gate() -> None:
    with zmq.Context() as context:
        gate = Gate(context, lambda key: False)

        with pytest.raises(zmq.ZMQError) as no:
            Gate(context, lambda key: False)
        assert "occupied" in explain(no.value, "inproc://a")
        gate.close()


def test_noise_at_the_gate_is_passed_over() -> None:
    with zmq.Context() as context:
        gate = Gate(context, lambda key: False)
        with context.socket(zmq.DEALER) as asker:
            asker.linger = 0
            asker.connect("inproc://zeromq.zap.01")
            asker.send(b"noise")
            asker.send_multipart([b"", b"1.0"])

            gate.answer()

        gate.probe()
        gate.close()
