from __future__ import annotations

import math
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeworm_monitor import settings_file
from codeworm_monitor.settings import RelaySettings, setting_fields
from codeworm_monitor.settings_file import (
    LARGEST,
    MOST_TOLD,
    NAME,
    PATHS,
    SettingsFileError,
    is_secret,
    locate,
    read,
    template,
    write_template,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, and a home with no configuration."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    return directory


def written(text: str | bytes, directory: Path, mode: int = 0o600) -> Path:
    path = directory / NAME
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def problems(text: str | bytes, directory: Path, mode: int = 0o600) -> list[str]:
    """Return what is wrong with a file of this text, without the directory's name."""
    with pytest.raises(SettingsFileError) as caught:
        read(written(text, directory, mode))
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def test_a_setting_of_each_type_is_read_with_its_line(here: Path) -> None:
    path = written(
        '# mine\nport = 9000\n\nhost="::1"\ndrain = 3\nno_archive = true\nchannels = [\n  "a", "b",\n]\nv1_origin = []\n',
        here,
    )
    found = read(path)
    assert found.values == {
        "port": 9000,
        "host": "::1",
        "drain": 3,
        "no_archive": True,
        "channels": ("a", "b"),
        "v1_origin": (),
    }
    assert RelaySettings(**found.values).channels == ("a", "b")
    assert found.lines == {"port": 2, "host": 4, "drain": 5, "no_archive": 6, "channels": 7, "v1_origin": 10}
    assert found.origin("drain") == f"{path}:5"


def test_an_empty_file_sets_nothing(here: Path) -> None:
    assert read(written("", here)).values == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prot = 1", "1: prot is no setting: did you mean port?"),
        ("redis-url = 'x'", "1: redis-url is no setting: did you mean redis_url?"),
        ("CODEWORM_MONITOR_PORT = 1", "1: CODEWORM_MONITOR_PORT is no setting: did you mean port?"),
        ("qqqq = 1", "1: qqqq is no setting: `config --show` lists all"),
        ('"a\\u001bb" = 1', ": a·b is no setting: `config --show` lists all"),
        (
            "\n[relay]\nport = 1",
            "2: [relay]: there are no tables here, each setting stands by itself, such as port = 8765",
        ),
        ('port = "9000"', "1: port must be a whole number"),
        ("port = 9000.0", "1: port must be a whole number"),
        ("port = true", "1: port must be a whole number"),
        ("drain = '5s'", "1: drain must be a number"),
        ("drain = inf", "1: drain must be a number below 2^63"),
        ("inbound_rate = nan", "1: inbound_rate must be a number below 2^63"),
        ("archive_bytes = 9223372036854775808", "1: archive_bytes must be a number below 2^63"),
        ("no_token = 1", "1: no_token must be true or false"),
        ("host = 1", '1: host must be a text in quotes, such as host = "…"'),
        ("host = 'a\\nb'\ntoken = \"a\\nb\"", "2: token holds a character that cannot be printed"),
        ("channels = 'a,b'", '1: channels must be a list of texts, such as channels = ["…"]'),
        (
            "channels = ['a,b']",
            '1: channels must be a list with one name each, such as ["codeworm:logs", "codeworm:events"]',
        ),
        ("channels = [1]", '1: channels must be a list of texts, such as channels = ["…"]'),
        ("channels = []", "1: channels: name at least one channel, such as codeworm:logs"),
        ("\n\nport = 99999", "3: port: 99999 is not between 0 and 65535"),
        ("token = 'long-enough'\nno_token = true", "2: no_token: contradicts a token: give one of the two"),
        ("port = 1\nport = 2\n", "2: no TOML: Cannot overwrite a value"),
        ("port = ", ": no TOML: Invalid value"),
        ("x = " + "[" * 5000, " is no TOML: nested too deeply"),
        (b"host = '\xff'", " is no text in UTF-8"),
        (b"\xff\xfeh\x00", " is no text in UTF-8"),
        ("#" * (LARGEST + 1), f" is larger than {LARGEST:,} bytes: is it a settings file?"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(
    text: str | bytes, problem: str, here: Path
) -> None:
    (told,) = problems(text, here)
    place = NAME if problem.startswith((" ", ":")) else f"{NAME}:"
    assert told.startswith(place + problem)
    assert told.isprintable()


def test_a_number_of_thousands_of_digits_is_refused(here: Path) -> None:
    (told,) = problems("port = " + "9" * 6000, here)
    assert told.startswith(NAME)


def test_all_that_is_wrong_is_told_at_once(here: Path) -> None:
    told = problems("prot = 1\nport = 'x'\nhots = 'y'", here)
    assert [re.match(rf"{re.escape(NAME)}:(\d)", one)[1] for one in told] == ["1", "2", "3"]  # type: ignore[index]
    with pytest.raises(SettingsFileError, match=r"did you mean port\? \(and 2 more: `config` names all\)"):
        read(here / NAME)


def test_of_thousands_of_problems_the_first_are_told_and_looked_up(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    line_of = settings_file._line_of

    def counted(text: str, name: str) -> int | None:
        looked_up.append(name)
        return line_of(text, name)

    monkeypatch.setattr(settings_file, "_line_of", counted)
    told = problems("port = 'x'\n" + "".join(f"k{number} = 1\n" for number in range(4000)), here)
    assert len(told) == MOST_TOLD + 1
    assert told[0].startswith(f"{NAME}:1: port must be")
    assert told[-2].startswith(f"{NAME}:{MOST_TOLD}: k{MOST_TOLD - 2} is no setting")
    assert told[-1] == f"{NAME}: {4001 - MOST_TOLD:,} more are wrong likewise: mend these first"
    assert len(looked_up) == MOST_TOLD
    with pytest.raises(SettingsFileError, match=rf"\(and many more: `config` names the first {MOST_TOLD}\)"):
        read(here / NAME)
    assert len(problems("".join(f"k{number} = 1\n" for number in range(MOST_TOLD)), here)) == MOST_TOLD


@pytest.mark.parametrize(
    "text",
    [
        "token = 's3cret'",
        "token = ['s3cret-s3cret']",
        'token = "s3cret-s3cret\nport=1',
        "redis_url = 'redis://:s3cret@host:port'",
        "redis_url = 's3cret://:s3cret@host'",
        "redis_url = ['redis://:s3cret@host']",
        "ollama = 'http://user:s3cret@host'",
        "token = 's3cret-s3cret'\nport = 0.5",
    ],
)
def test_a_secret_is_in_no_complaint(text: str, here: Path) -> None:
    assert "s3cret-" not in " ".join(problems(text, here))
    assert ":s3cret" not in " ".join(problems(text, here))
    assert "'s3cret'" not in " ".join(problems(text, here))


def test_a_secret_is_not_in_the_repr(here: Path) -> None:
    assert "correct-horse" not in repr(read(written("token = 'correct-horse'", here)))


def test_a_line_that_looks_like_a_key_within_a_text_is_none(here: Path) -> None:
    text = 'host = """\\\nport = 1"""\nport = 2\n'
    assert read(written("host = 'a' # port = 1\nport = 2\n", here)).lines["port"] == 2
    (told,) = problems(text.replace("port = 2", "port = 'x'"), here)
    assert told.startswith(f"{NAME}:3: port")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(mode: int, here: Path) -> None:
    (told,) = problems("port = 1", here, mode)
    assert told == f"{NAME} may be written by others (mode {mode:04o}): close it with `chmod go-w {NAME}`"


@pytest.mark.parametrize("text", ["token = 'correct-horse'", "redis_url = 'redis://:secret@host'"])
def test_a_secret_that_others_may_read_is_refused(text: str, here: Path) -> None:
    (told,) = problems(text, here, 0o604)
    assert told.endswith(f"may be read by others: close it with `chmod 600 {NAME}`")
    assert read(written(text, here, 0o600)).values


def test_without_a_secret_others_may_read_it(here: Path) -> None:
    assert read(written("port = 1\nredis_url = 'redis://host:1'", here, 0o644)).values["port"] == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_what_another_user_could_change_counts_only_if_it_was_named_by_hand(here: Path) -> None:
    path = written("port = 1", here)
    os.chown(path, 12345, 12345)
    with pytest.raises(SettingsFileError, match=r"belongs to another user, who could change it: .* --config"):
        read(path, was_named=False)
    assert read(path, was_named=True).values == {"port": 1}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to a group and act as another user")
def test_roots_file_with_a_secret_is_open_to_the_group_that_root_chose(here: Path) -> None:
    path = written("token = 'correct-horse'", here, 0o640)
    assert read(path, was_named=False).values == {"token": "correct-horse"}
    os.chown(path, 12345, 12345)  # somebody's own, open to his group, but read by root: not root's to judge
    assert read(path).values == {"token": "correct-horse"}


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing"])
def test_what_is_no_plain_file_is_refused_without_waiting(kind: str, here: Path) -> None:
    path = here / NAME
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(SettingsFileError, match="is no plain file" if kind != "missing" else "cannot be read: No such"):
        read(path)


def test_a_name_that_cannot_be_one_is_told(here: Path) -> None:
    with pytest.raises(SettingsFileError, match="cannot be read"):
        read(Path("a\0b"))
    with pytest.raises(SettingsFileError, match="cannot be written"):
        write_template(Path("a\0b"))


def test_paths_are_relative_to_the_file_and_know_the_home(here: Path, tmp_path: Path) -> None:
    text = (
        "archive = 'kept'\ncodeworm_db = '~/worm.db'\ntls_cert = '/etc/cert.pem'\nstatic = '~nobody-of-this-name/x'\n"
    )
    found = read(written(text, here))
    assert found.values == {
        "archive": str(here / "kept"),
        "codeworm_db": str(tmp_path / "home" / "worm.db"),
        "tls_cert": "/etc/cert.pem",
        "static": str(here / "~nobody-of-this-name" / "x"),
    }
    assert {one.name for one in setting_fields()} >= PATHS


def test_a_key_file_may_wait_for_a_certificate_that_the_environment_names(here: Path) -> None:
    assert "tls_key" in read(written("tls_key = 'key.pem'", here)).values


def test_the_working_directory_goes_before_the_users_configuration(here: Path, tmp_path: Path) -> None:
    assert locate(None) is None
    mine = tmp_path / "configuration" / "codeworm_monitor" / NAME
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert locate(None) == mine
    written("", here)
    assert locate(None) == Path(NAME)
    assert locate("other.toml") == Path("other.toml")
    assert locate("~/other.toml") == tmp_path / "home" / "other.toml"


def test_a_link_that_leads_nowhere_is_told_not_passed_over(here: Path) -> None:
    (here / NAME).symlink_to("gone")
    assert locate(None) == Path(NAME)


def test_the_template_holds_every_setting_and_its_default(here: Path) -> None:
    assert tomllib.loads(template()) == {}
    live = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", template(), flags=re.MULTILINE))
    assert list(live) == [one.name for one in setting_fields()]
    assert {name for name, value in live.items() if value == ""} == {
        one.name for one in setting_fields() if one.default is None
    }
    assert all(len(line) <= 140 for line in template().splitlines())


def test_the_template_with_all_taken_in_says_what_the_defaults_say(here: Path) -> None:
    text = re.sub(r"^#(?=\w+ = )", "", template(), flags=re.MULTILINE)
    found = read(written(text, here, 0o644))  # open to all: no token is no secret
    assert list(found.values) == [one.name for one in setting_fields()]
    assert RelaySettings(**found.values) == RelaySettings()


def test_the_template_is_for_its_owner_alone_and_replaces_nothing(here: Path) -> None:
    path = here / "below" / NAME
    former = os.umask(0)
    try:
        write_template(path)
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read(path).values == {}
    path.write_text("port = 1")
    with pytest.raises(SettingsFileError, match="is there already"):
        write_template(path)
    assert path.read_text() == "port = 1"


def test_the_template_is_not_written_through_a_link(here: Path) -> None:
    (here / NAME).symlink_to(here / "elsewhere")
    with pytest.raises(SettingsFileError, match="is there already"):
        write_template(here / NAME)
    assert not (here / "elsewhere").exists()


def test_secrets_are_known() -> None:
    assert is_secret("token", "x")
    assert is_secret("redis_url", "redis://user:x@host")
    assert not is_secret("redis_url", "redis://host")
    assert not is_secret("token", None)


_KEYS = st.sampled_from([one.name for one in setting_fields()]) | st.text(max_size=12)
_VALUES = st.one_of(
    st.integers(), st.booleans(), st.floats(), st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3)
)


def _spelt(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else "inf"
    if isinstance(value, list):
        return f"[{', '.join(map(_spelt, value))}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=4), st.binary(max_size=12))
def test_whatever_stands_in_it_is_read_or_refused_in_plain_lines(
    here: Path, pairs: list[tuple[str, object]], tail: bytes
) -> None:
    text = "".join(f"{_spelt(key)} = {_spelt(value)}\n" for key, value in pairs)
    path = written(text.encode() + tail, here)
    try:
        found = read(path)
    except SettingsFileError as error:
        told = error.problems
    else:
        told = ()
        RelaySettings(**found.values)
    assert all(problem.startswith(str(path)) for problem in told)
