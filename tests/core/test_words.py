"""Ids, units, limits, errors and log lines say exactly what they should."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgrid.core import canonical, catalogue, errors, ids, limits, schema, units
from tfgrid.core.log import Log

_IDS = [ids.NodeId(ids.IdentityId(text * 16)) for text in ("abcd", "abce", "1234")]


def test_a_unique_prefix_names_one_thing() -> None:
    """Four digits that only one id begins with are enough, and so are all of them."""
    assert ids.expand("1234", _IDS, kind="node") == _IDS[2]
    assert ids.expand(_IDS[0], _IDS, kind="node") == _IDS[0]
    assert ids.short(_IDS[0]) == "abcdabcdab"


@pytest.mark.parametrize(
    ("prefix", "code"),
    [("abc", "TFG-1004"), ("ffff", "TFG-1001"), ("", "TFG-1004"), ("1", "TFG-1004")],
)
def test_other_prefixes_are_refused(prefix: str, code: str) -> None:
    """A prefix that is short, or that nothing has, names nothing."""
    with pytest.raises(errors.GridError, match=code):
        ids.expand(prefix, _IDS, kind="node")


def test_an_ambiguous_prefix_names_its_candidates() -> None:
    """Who gives too few digits is told between which things to choose."""
    twins = [ids.NodeId(ids.IdentityId("abcd" + n * 60)) for n in "12"]
    with pytest.raises(errors.BadInput, match=r"TFG-1002.*abcd111111, abcd222222"):
        ids.expand("abcd", twins, kind="node")


@pytest.mark.parametrize("text", ["a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", ""])
def test_an_id_is_64_digits(text: str) -> None:
    """An id field of a document takes exactly 64 lower-case hexadecimal digits."""

    class Holder(schema.Value, frozen=True):
        """A document with an id."""

        node: ids.Node

    with pytest.raises(errors.BadInput, match="TFG-1103"):
        canonical.parse(json.dumps({"node": text}, separators=(",", ":")).encode(), Holder)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("64MiB", 64 << 20), ("64MB", 64_000_000), ("2G", 2 << 30), ("1.5 GiB", 3 << 29),
     ("10k", 10_240), ("1tib", 1 << 40), ("7b", 7), ("0.001kb", 1)],
)  # fmt: skip
def test_sizes_are_read(text: str, count: int) -> None:
    """Sizes are binary, except with a plain B."""
    assert units.parse_bytes(text) == count


@pytest.mark.parametrize(("text", "millis"), [("0.25", 250), ("250m", 250), ("4", 4000), ("0", 0)])
def test_cores_are_read(text: str, millis: int) -> None:
    """Cores are read to the thousandth."""
    assert units.parse_cpu(text) == millis


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("30d", 2_592_000), ("0s", 0)]
)
def test_spans_are_read(text: str, seconds: int) -> None:
    """Spans always say their unit."""
    assert units.parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "x", "-1G", "1e3", "1,5G", "1.2345G", "G", "1 2G", "\u0661G", "1GG", "0x10", "nan"]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """Signs, exponents, other digits and unknown units are refused, for each kind of quantity."""
    for parse in (units.parse_bytes, units.parse_cpu, units.parse_seconds):
        with pytest.raises(errors.BadInput, match="TFG-1003"):
            parse(text)


def test_nothing_is_rounded_away_or_overflows() -> None:
    """Half a second, half a thousandth of a core and 2^53 bytes are refused, never changed."""
    for parse, text in (
        (units.parse_seconds, "0.5s"),
        (units.parse_cpu, "0.5m"),
        (units.parse_bytes, "1.5b"),
        (units.parse_bytes, "8192T"),
        (units.parse_seconds, "999999999999w"),
    ):
        with pytest.raises(errors.BadInput, match="TFG-1005"):
            parse(text)


@given(st.integers(0, 2**50))
def test_sizes_for_people_are_close(count: int) -> None:
    """A size as people read it is the size, to a twentieth of its leading unit."""
    text = units.bytes_text(count).replace(" ", "")
    assert abs(units.parse_bytes(text) - count) <= max(1, count // 15)


def test_money_is_exact_text() -> None:
    """Money has all its decimals and no more; its amount is decimal text, never a float."""
    assert units.money_text(units.Money(amount="4200000")) == "0.42 TFT"
    assert units.money_text(units.Money(amount="10000001")) == "1.0000001 TFT"
    assert units.money_text(units.Money(amount="0")) == "0 TFT"
    assert canonical.encode(units.Money(amount="7")) == b'{"amount":"7","currency":"TFT"}'
    for wrong in ("-1", "01", "1.0", "1e3", "", "9" * 19, "\u0661"):
        data = canonical.encode({"amount": wrong, "currency": "TFT"})
        with pytest.raises(errors.BadInput, match="TFG-1103"):
            canonical.parse(data, units.Money)


def test_capacity_is_counted_by_dimension() -> None:
    """Sums, rests and gaps are taken for cores, memory and disks apart."""
    has = units.Capacity(cpu_millis=2000, memory_bytes=100)
    asks = units.Capacity(cpu_millis=500, memory_bytes=300, ssd_bytes=1)
    assert has.plus(asks) == units.Capacity(cpu_millis=2500, memory_bytes=400, ssd_bytes=1)
    assert has.minus(asks) == units.Capacity(cpu_millis=1500)
    assert has.lacks(asks) == {"memory_bytes": 200, "ssd_bytes": 1}


def test_moments_are_utc() -> None:
    """A moment is shown as RFC 3339 in UTC."""
    assert units.time_text(1_750_000_000_999) == "2025-06-15T15:06:40Z"


def test_limits_have_units() -> None:
    """Every limit is a positive number whose name ends in a bound or a unit."""
    named = {n: v for n, v in vars(limits).items() if isinstance(v, int) and not n.startswith("_")}
    endings = ("_max", "_min", "_seconds", "_bytes", "_bits", "_per_container")
    assert [n for n, v in named.items() if v <= 0 or not n.endswith(endings)] == []


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_has_four_parts(name: str) -> None:
    """Code, what, where and hint are kept apart and said together; details ride along."""
    kind = getattr(errors, name)
    fault = kind("TFG-1001", "it broke", where="here", hint="mend it", node="n1")
    assert str(fault) == "TFG-1001 it broke (here). Try: mend it"
    assert (fault.code, fault.what, fault.where, fault.hint) == (
        "TFG-1001", "it broke", "here", "mend it",
    )  # fmt: skip
    assert fault.details == {"node": "n1"}
    assert isinstance(fault, errors.GridError)
    assert str(kind("TFG-1001", "it broke")) == "TFG-1001 it broke"


def test_exit_codes_are_those_of_the_drawing() -> None:
    """The drawn tree in the module head has every class with its exit code and answer to retry."""
    for name in set(errors.__all__) - {"GridError"}:
        kind = getattr(errors, name)
        row = next(line for line in (errors.__doc__ or "").splitlines() if f"- {name} " in line)
        words = row.split(f"- {name} ")[1].split()
        assert (int(words[0]), words[1]) == (kind.exit_code, "yes" if kind.retry else "no")


def test_the_catalogue_explains_codes() -> None:
    """An entry is found by its code, and the rendering has it."""
    entry = catalogue.entries()["TFG-1104"]
    assert entry.part == "core"
    assert f"## TFG-1104: {entry.title}" in catalogue.markdown()
    assert list(catalogue.entries()) == sorted(catalogue.entries())


def test_a_log_line_is_one_object() -> None:
    """A line has time, level, part, event and fields; what is below the level is not written."""
    stream = io.StringIO()
    log = Log("zdb", stream=stream, level="info").bind(node="n1")
    log.debug("unseen")
    log.info("opened", count=3, path='a"\n')
    log.error("lost", node="n2", at="never", part="other")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert {k: first[k] for k in first if k != "at"} == {
        "level": "info", "part": "zdb", "event": "opened", "node": "n1", "count": 3, "path": 'a"\n',
    }  # fmt: skip
    assert (second["part"], second["node"]) == ("zdb", "n2")
    assert second["at"] != "never"


def test_a_log_takes_no_bytes() -> None:
    """Keys and other bytes are of no type that a log line takes."""
    with pytest.raises(TypeError):
        Log("zdb", stream=io.StringIO()).info("opened", key=b"secret")  # type: ignore[arg-type]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stranger_moves_no_cursor() -> None:
    """On a terminal a field with control characters is shown quoted, on one line."""
    stream = _Terminal()
    Log("zdb", stream=stream).warning("seen", name="a\x1b[2J\nb", plain="x y")
    shown = stream.getvalue()
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert "plain=x y" in shown


def test_values_of_the_grid_have_a_name_that_is_a_host_name() -> None:
    """A name is a DNS label."""

    class Holder(schema.Value, frozen=True):
        """A document with a name and a tag."""

        name: schema.Name = "a"
        tag: schema.Tag = "a:b"

    for name in ("a", "web-1", "a" * 63):
        canonical.parse(canonical.encode(Holder(name=name)), Holder)
    for wrong in ("", "1a", "-a", "a-", "A", "a.b", "a" * 64, "a\n", "\u00e9"):
        with pytest.raises(errors.BadInput, match="TFG-1103"):
            canonical.parse(canonical.encode(Holder(name=wrong)), Holder)
    for wrong in ("a", ":b", "a:", "A:b", "a:b c", "a:b\n", "a:" + "b" * 127):
        with pytest.raises(errors.BadInput, match="TFG-1103"):
            canonical.parse(canonical.encode(Holder(tag=wrong)), Holder)
