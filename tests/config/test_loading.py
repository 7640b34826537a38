"""Configuration: which place wins, and what an error says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from brokerkit import Bus, ConfigError, RetryPolicy
from brokerkit._config import _loading
from brokerkit._config._loading import BusSettings, from_file, from_keywords, settings_of_section
from brokerkit._config._settings import Section


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Read a configuration out of TOML text."""

    def read(toml: str, environ: Mapping[str, str] | None = None, **keywords: Any) -> BusSettings:
        path = tmp_path / "bus.toml"
        path.write_text(toml, encoding="utf-8")
        return from_file(path, keywords, environ or {})

    return read


# ---- precedence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "values", "default"),
    [
        ("group", ("k", "e", "f", "q"), None),
        ("concurrency", (4, "3", 2, "1"), 100),
        ("lease", (4.0, "3", 2, "1"), 30.0),
        ("broadcast", (True, "true", True, "true"), False),
        ("order", ("strict", "none", "key", "strict"), "key"),
        ("retry", (RetryPolicy(attempts=4), '{"attempts": 3}', 2, "1"), RetryPolicy()),
        ("name_from", (["key"], "type, topic", "header:f", "header:q"), ()),
        ("body_field", ("k", "e", "f", "q"), "data"),
        ("format", ("json", "session", "accelbyte", "evenbet"), "cloudevents"),
    ],
)
def test_keyword_beats_environment_beats_file_beats_url_query_beats_default(
    load: Any, key: str, values: tuple[Any, Any, Any, Any], default: Any
) -> None:
    keyword, environment, in_file, in_query = values
    shown = str(in_file).lower() if isinstance(in_file, (bool, int)) else f'"{in_file}"'
    query, line = f"?{key}={in_query}", f"{key} = {shown}\n"
    environ = {f"BROKERKIT_{key.upper()}": environment}

    def got(query: str, line: str, environ: Mapping[str, str], **keywords: Any) -> Any:
        return getattr(
            load(f'[bus]\nurl = "memory://{query}"\ntopic = "t"\n{line}', environ, **keywords).sources["bus"], key
        )

    def alone(value: Any) -> Any:
        return getattr(from_keywords({"url": "memory://", "topic": "t", key: value}, {}).sources["bus"], key)

    assert got(query, line, environ, **{key: keyword}) == alone(keyword)
    assert got(query, line, environ) == (RetryPolicy(attempts=3) if key == "retry" else alone(environment))
    assert got(query, line, {}) == alone(in_file)
    assert got(query, "", {}) == alone(in_query)
    assert got("", "", {}) == default


def test_the_url_itself_has_the_same_precedence(load: Any) -> None:
    toml, environ = '[bus]\nurl = "memory://file"\ntopic = "t"', {"BROKERKIT_URL": "memory://environment"}
    assert load(toml, environ, url="memory://keyword").sources["bus"].url.get_secret_value() == "memory://keyword"
    assert load(toml, environ).sources["bus"].url.get_secret_value() == "memory://environment"
    assert load(toml).sources["bus"].url.get_secret_value() == "memory://file"


def test_options_of_all_places_are_joined_one_by_one(load: Any) -> None:
    settings = load(
        '[bus]\nurl = "kafka://h?a=query&b=query&c=query&d=query"\ntopic = "t"\n'
        '[bus.options]\nb = "file"\nc = "file"\nd = 1',
        {"BROKERKIT_OPTIONS": '{"c": "environment", "d": 2}'},
        options={"d": 3},
    )
    assert settings.sources["bus"].options == {"a": "query", "b": "file", "c": "environment", "d": 3}
    assert settings.targets["bus"].options == settings.sources["bus"].options


def test_a_keyword_of_none_leaves_a_setting_open() -> None:
    settings = from_keywords({"url": None, "topic": "t"}, {"BROKERKIT_URL": "memory://", "BROKERKIT_GROUP": "g"})
    assert settings.sources["bus"].group == "g"


def test_seconds_to_stop_belong_to_the_bus(load: Any) -> None:
    assert load('[bus]\nurl = "memory://"\nstop_timeout = 3', {"BROKERKIT_STOP_TIMEOUT": "4"}).stop_timeout == 4.0
    assert from_keywords({"url": "memory://"}, {}).stop_timeout == 30.0


# ---- sources and targets -------------------------------------------------------------------------------------


def test_one_topic_is_read_and_written() -> None:
    settings = from_keywords({"url": "memory://", "topic": "t", "group": "g", "publish_timeout": 3}, {})
    assert settings.sources["bus"].topic == ("t",)
    assert (settings.targets["bus"].topic, settings.targets["bus"].publish_timeout) == ("t", 3.0)


def test_several_topics_are_read_only_and_none_is_written_only() -> None:
    assert not from_keywords({"url": "memory://", "topic": "a,b"}, {}).targets
    alone = from_keywords({"url": "memory://"}, {})
    assert (alone.sources, alone.targets["bus"].topic) == ({}, None)


def test_the_bus_gives_defaults_to_sources_and_targets(load: Any) -> None:
    settings = load(
        """
        [bus]
        url = "memory://shared"
        format = "evenbet"
        group = "wallet"
        publish_timeout = 7
        [sources.poker]
        topic = "events"
        [sources.sessions]
        url = "memory://other?group=crm"
        topic = "sessions"
        format = "accelbyte"
        [targets.out]
        topic = "results"
        """
    )
    poker, sessions, out = settings.sources["poker"], settings.sources["sessions"], settings.targets["out"]
    assert (poker.format, poker.group, poker.url.get_secret_value()) == ("evenbet", "wallet", "memory://shared")
    assert (sessions.format, sessions.url.get_secret_value()) == ("accelbyte", "memory://other")
    assert (out.topic, out.format, out.publish_timeout) == ("results", "evenbet", 7.0)
    assert "bus" not in settings.sources


def test_the_environment_reaches_named_sources_and_makes_new_ones(load: Any) -> None:
    settings = load(
        '[bus]\nurl = "memory://"\n[sources.Poker]\ntopic = "t"',
        {
            "BROKERKIT_SOURCES__POKER__GROUP": "g",
            "BROKERKIT_SOURCES__NEW__TOPIC": "n",
            "BROKERKIT_TARGETS__OUT__TOPIC": "o",
        },
    )
    assert settings.sources["Poker"].group == "g"
    assert settings.sources["new"].topic == ("n",)
    assert settings.targets["out"].topic == "o"


def test_variables_of_others_are_left_alone_and_near_misses_are_not() -> None:
    others = {"BROKERKIT_SERVICE_HOST": "h", "BROKERKIT_PORT_6379_TCP": "p", "TOPIC": "x", "BROKERKIT_DEPLOYMENT": "d"}
    assert from_keywords({"url": "memory://", "topic": "t"}, others).sources["bus"].topic == ("t",)
    with pytest.raises(ConfigError, match="BROKERKIT_TOPICS.*BROKERKIT_TOPIC"):
        from_keywords({"url": "memory://"}, {"BROKERKIT_TOPICS": "t"})
    with pytest.raises(ConfigError, match="BROKERKIT_SOURCES__A.*BROKERKIT_SOURCES__NAME__KEY"):
        from_keywords({"url": "memory://"}, {"BROKERKIT_SOURCES__A": "t"})


@pytest.mark.parametrize(
    "environ",
    [
        {"BROKERKIT_TOPIC": "a", "BROKERKIT_Topic": "b"},
        {"BROKERKIT_SOURCES__A__TOPIC": "a", "BROKERKIT_SOURCES__a__TOPIC": "b"},
    ],
)
def test_one_key_twice_in_the_environment_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="twice"):
        from_keywords({"url": "memory://"}, environ)


# ---- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ('[bus]\nurl = "memory://"\ntopic = "t"\nconcurrency = 0', ["bus.concurrency", "0", "greater"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nlease = "soon"', ["bus.lease", "soon", "number"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\norder = "any"', ["bus.order", "any", "'none', 'key' or 'strict'"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\ngrup = "g"', ["bus.grup", "did you mean 'group'", "allowed"]),
        ('[bus]\nurl = "memory://"\nstop_timeout = 0', ["bus.stop_timeout", "0", "above 0"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {attempt = 1}', ["bus.retry", "attempt", "attempts"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {attempts = 0}', ["retry", "attempts", "0"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {attempts = "3.5"}', ["bus.retry", "3.5"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {by_error = {"no.Such" = 1}}', ["bus.retry", "no.Such"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {by_error = {print = 1}}', ["print", "not a class of errors"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {by_error = 1}', ["bus.retry", "by_error", "table"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nretry = {by_error = {OSError = {x = 1}}}', ["bus.retry", "'x'"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nformat = "xml"', ["format", "xml", "evenbet"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nname_from = "head:x"', ["name_from", "head:x", "header:NAME"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nkey_from = "x"', ["key_from", "x", "header:NAME"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\ntz = "Mars/Base"', ["bus.tz", "Mars/Base"]),
        ('[bus]\nurl = "memory://"\ntopic = "t"\nqueue = "q"', ["topic", "queue"]),
        ('[bus]\nurl = "memory://?lease=soon"\ntopic = "t"', ["URL", "bus.lease", "soon"]),
        ('[bus]\nurl = "nonsense"\ntopic = "t"', ["bus.url", "nonsense", "kafka://localhost:9092"]),
        ('[bus]\ntopic = "t"', ["bus.url", "missing"]),
        ('[sources.a]\nurl = "memory://"', ["sources.a", "topic", "queue"]),
        ('[sources.a]\nurl = "memory://"\ntopic = "t"\nstop_timeout = 1', ["sources.a.stop_timeout", "not a setting"]),
        ('[targets.a]\nurl = "memory://"\ngroup = "g"', ["targets.a.group", "not a setting"]),
        ("[sources]\na = 1", ["a", "table"]),
        ("bus = 1", ["bus", "table"]),
        ("[source.a]", ["source", "[sources.NAME]"]),
        ("[bus", ["TOML"]),
    ],
)
def test_an_error_names_file_key_value_and_what_is_allowed(load: Any, toml: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(toml)
    for part in ["bus.toml", *named] if "?" not in toml else named:
        assert part in str(error.value)


@pytest.mark.parametrize("variable", ["CONCURRENCY", "SOURCES__A__CONCURRENCY", "TARGETS__A__CONNECT_TIMEOUT"])
def test_an_error_names_the_variable_and_its_value(variable: str) -> None:
    with pytest.raises(ConfigError, match=rf"BROKERKIT_{variable}.*many"):
        from_keywords({"url": "memory://", "topic": "t"}, {f"BROKERKIT_{variable}": "many"})


def test_an_error_blames_the_wrong_setting_and_not_a_right_one() -> None:
    with pytest.raises(ConfigError, match=r"keyword: bus\.tpoic is not a setting; did you mean 'topic'"):
        from_keywords({"url": "memory://", "publish_timeout": 3, "tpoic": "t"}, {})
    with pytest.raises(ConfigError, match="did you mean 'stop_timeout'"):
        from_keywords({"url": "memory://", "stop_timeot": 3}, {})
    with pytest.raises(ConfigError, match="did you mean 'publish_timeout'"):
        from_keywords({"url": "memory://", "publish_timeot": 3}, {})


@pytest.mark.parametrize("value", ["linger", "[1]", "{broken"])
def test_options_that_are_no_table_are_an_error(load: Any, value: str) -> None:
    with pytest.raises(ConfigError, match="BROKERKIT_OPTIONS"):
        load('[bus]\nurl = "memory://"\n[bus.options]\na = 1', {"BROKERKIT_OPTIONS": value})


def test_a_key_twice_in_the_url_is_an_error() -> None:
    for query in ("group=a&group=b", "linger.ms=1&linger.ms=2"):
        with pytest.raises(ConfigError, match="twice"):
            from_keywords({"url": f"kafka://h?{query}", "topic": "t"}, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.toml"):
        Bus.from_config(tmp_path / "nowhere.toml")


SECRET = "s3cret-word"


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": "many"},
        {"format": "xml"},
        {"grup": "x"},
        {"dead_letter": 3},
        {"endpoint": 3},
        {"tz": "Mars/Base"},
        {"url": f"amqp://user:{SECRET}@host:port/"},
        {"url": f"amqp://user:{SECRET}@host/?lease=soon&password={SECRET}"},
        {"url": f"amqp://user:{SECRET}@host/?password={SECRET}&password={SECRET}"},
        {"options": SECRET},
        {"dead_letter": f"amqp://user:{SECRET}@host:port/"},
    ],
)
def test_no_error_shows_a_secret(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "url": f"amqp://user:{SECRET}@host/",
        "topic": "t",
        "options": {"password": SECRET},
        "endpoint": f"http://user:{SECRET}@host",
        "dead_letter": f"memory://user:{SECRET}@host",
    }
    with pytest.raises(ConfigError) as error:
        _make({**right, **wrong})
    assert SECRET not in f"{error.value} {error.value!r}"


def _make(keywords: dict[str, Any]) -> Bus:
    url = keywords.pop("url")
    return Bus(url, **keywords)


def test_no_repr_shows_a_secret() -> None:
    settings = from_keywords(
        {
            "url": f"kafka://user:{SECRET}@host?ssl.key.password={SECRET}",
            "topic": "t",
            "options": {"sasl.password": SECRET},
            "endpoint": f"http://user:{SECRET}@host",
            "dead_letter": f"amqp://user:{SECRET}@host",
        },
        {},
    )
    source = settings.sources["bus"]
    for shown in (settings, source, settings.targets["bus"], source.connection(), source.connection().url):
        assert SECRET not in f"{shown!r} {shown}"


# ---- where settings come from --------------------------------------------------------------------------------


def test_each_setting_knows_where_it_comes_from(load: Any) -> None:
    environ = {"BROKERKIT_GROUP": "e", "BROKERKIT_SOURCES__VENDOR__HOLD": "3", "BROKERKIT_OPTIONS": '{"b": 1}'}
    toml = '[bus]\nurl = "memory://"\noptions = {a = 1}\n[sources.vendor]\ntopic = "t"\n'
    settings = load(toml, environ, format="json")
    (place,) = {origin for origin in settings.origins.values() if origin.endswith("bus.toml")}
    assert settings.origins == {
        "url": place,
        "options": f"{place}, BROKERKIT_OPTIONS",
        "group": "BROKERKIT_GROUP",
        "format": "keyword",
        "sources.vendor.topic": place,
        "sources.vendor.hold": "BROKERKIT_SOURCES__VENDOR__HOLD",
    }
    assert settings.variables == ["BROKERKIT_GROUP", "BROKERKIT_OPTIONS", "BROKERKIT_SOURCES__VENDOR__HOLD"]


async def test_a_bus_says_which_variables_it_took_settings_from(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BROKERKIT_GROUP", "wallet")
    monkeypatch.setenv("BROKERKIT_DEAD_LETTER", "memory://user:secret@elsewhere")
    monkeypatch.setenv("BROKERKIT_TOPIC", "overridden")
    bus = Bus("memory://user:hidden@here", topic="t")
    assert repr(bus).endswith("0 handlers, environment ['BROKERKIT_DEAD_LETTER', 'BROKERKIT_GROUP']>")
    caplog.set_level("INFO", "brokerkit")
    async with bus:
        pass
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("settings: ")]
    assert line == (
        "settings: group from BROKERKIT_GROUP; dead_letter from BROKERKIT_DEAD_LETTER; topic, url from keyword"
    )


async def test_a_bus_without_settings_from_the_environment_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus("memory://", topic="t")
    caplog.set_level("INFO", "brokerkit")
    async with bus:
        assert repr(bus) == "<Bus: open, sources ['bus'], targets ['bus'], 0 handlers>"
    assert "settings" not in caplog.text


# ---- tables of what runs beside a bus ------------------------------------------------------------------------


def test_the_core_knows_no_table_of_a_vendor() -> None:
    """The vendors' parts register their tables; the configuration does not name them."""
    package = Path(_loading.__file__).parent
    for path in package.glob("*.py"):
        assert "gateway" not in path.read_text("utf-8")


def test_a_table_that_nobody_registered_is_refused(load: Any) -> None:
    bus = '[bus]\nurl = "memory://"\ntopic = "t"\n'
    assert load(f"{bus}[gateway]\nport = 1\n").sources["bus"].topic == ("t",)
    with pytest.raises(ConfigError, match=r"'gatway' .*\[targets.NAME\], \[gateway\]"):
        load(f"{bus}[gatway]\nport = 1\n")


def test_a_section_reads_its_tables_as_json_and_hides_its_own_secrets() -> None:
    class Beside(Section):
        TABLES = frozenset({"names"})
        SECRETS = frozenset({"password"})

        names: Mapping[str, int] = Field(default_factory=dict)
        password: int = 0

    environ = {"BROKERKIT_BESIDE__NAMES": '{"a": 1}'}
    assert settings_of_section("beside", Beside, None, {}, environ).names == {"a": 1}
    with pytest.raises(ConfigError, match=r"BROKERKIT_BESIDE__PASSWORD: beside.password: ") as error:
        settings_of_section("beside", Beside, None, {}, {"BROKERKIT_BESIDE__PASSWORD": "hunter2"})
    assert "hunter2" not in str(error.value)
