"""Pasted lists of static proxies."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.providers.static_list import LINES_MAX, BadLine, ListedProxy, read_static_list


def only(line: str) -> ListedProxy:
    read = read_static_list(line)
    assert not read.bad_lines
    (proxy,) = read.proxies
    return proxy


def reason(line: str) -> str:
    read = read_static_list(line)
    assert not read.proxies
    (bad,) = read.bad_lines
    return bad.reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("203.0.113.7:8080", ListedProxy("http", "203.0.113.7", 8080)),
        ("203.0.113.7:8080:user:pass", ListedProxy("http", "203.0.113.7", 8080, "user", "pass")),
        (
            "  isp.example.com:3128:user:p@ss:word#1  ",
            ListedProxy("http", "isp.example.com", 3128, "user", "p@ss:word#1"),
        ),
        ("ISP.Example.com.:3128", ListedProxy("http", "isp.example.com", 3128)),
        ("[2001:db8::0:1]:8080:user:pass", ListedProxy("http", "2001:db8::1", 8080, "user", "pass")),
        ("[2001:db8::1]:8080", ListedProxy("http", "2001:db8::1", 8080)),
        ("http://user:pass@203.0.113.7:8080", ListedProxy("http", "203.0.113.7", 8080, "user", "pass")),
        ("http://203.0.113.7:8080/", ListedProxy("http", "203.0.113.7", 8080)),
        ("socks5://u:p@isp.example.com:1080", ListedProxy("socks5", "isp.example.com", 1080, "u", "p")),
        ("socks5h://u:p@isp.example.com:1080", ListedProxy("socks5", "isp.example.com", 1080, "u", "p")),
        ("http://us%40er:p%3Ass%25@isp.example.com:80", ListedProxy("http", "isp.example.com", 80, "us@er", "p:ss%")),
        ("http://u:p+w@isp.example.com:80", ListedProxy("http", "isp.example.com", 80, "u", "p+w")),
        ("http://u:p@[2001:db8::1]:80", ListedProxy("http", "2001:db8::1", 80, "u", "p")),
    ],
)
def test_it_reads_a_line(line: str, expected: ListedProxy) -> None:
    assert only(line) == expected


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("isp.example.com", "port"),
        ("isp.example.com:", "port"),
        ("isp.example.com:0", "port"),
        ("isp.example.com:65536", "port"),
        ("isp.example.com:8080x", "port"),
        ("isp.example.com:٣١٢٨", "port"),
        ("isp.example.com:8080:user", "password"),
        (":8080", "host"),
        ("isp example.com:8080", "host"),
        ("-isp.example.com:8080", "host"),
        ("2001:db8::1:8080:x:y", "port"),
        ("[2001:db8::zz]:8080", "IPv6"),
        ("[2001:db8::1]", "port"),
        ("ftp://isp.example.com:21", "http:// or socks5://"),
        ("http://isp.example.com", "port"),
        ("http://isp.example.com:99999", "port"),
        ("http://:80", "host"),
        ("http://isp.example.com:80/path", "follow"),
        ("http://isp.example.com:80?x=1", "follow"),
        ("http://u%3Ax:p@isp.example.com:80", "colon"),
        ("http://u:p%0D%0Ax@isp.example.com:80", "control"),
        ("isp.example.com:80:u:" + "p" * 256, "255"),
        ("isp.example.com:80:u:" + "p" * 2000, "1000"),
    ],
)
def test_it_says_what_is_wrong_without_repeating_the_line(line: str, part: str) -> None:
    told = reason(line)
    assert part in told
    assert line not in told


def test_bad_lines_are_told_by_number_and_the_rest_is_kept() -> None:
    read = read_static_list("# our ISP\n\n203.0.113.1:80\r\nnonsense\n203.0.113.2:80\n:1\n")
    assert [proxy.host for proxy in read.proxies] == ["203.0.113.1", "203.0.113.2"]
    assert [bad.number for bad in read.bad_lines] == [4, 6]


def test_duplicates_are_skipped_by_number_in_any_form() -> None:
    read = read_static_list(
        "\ufeffISP.example.com:80:u:p\nhttp://u:p@isp.example.com:80\nisp.example.com.:80:u:other\nisp.example.com:80:v:p"
    )
    assert [(proxy.host, proxy.username, proxy.password) for proxy in read.proxies] == [
        ("isp.example.com", "u", "p"),
        ("isp.example.com", "v", "p"),
    ]
    assert read.duplicates == [2, 3]


def test_a_list_without_end_is_cut_and_told() -> None:
    lines = (f"203.0.{number // 250}.{number % 250}:80" for number in range(LINES_MAX + 5))
    read = read_static_list("\n".join(lines))
    assert len(read.proxies) == LINES_MAX
    assert read.bad_lines == [BadLine(LINES_MAX + 1, f"A list has at most {LINES_MAX} lines; the rest was left out.")]


def test_the_url_that_is_kept_holds_no_secret() -> None:
    proxy = only("socks5://user:s3cret@[2001:db8::1]:1080")
    assert proxy.url == "socks5://[2001:db8::1]:1080"
    assert proxy.credentials == {"username": "user", "password": "s3cret"}
    assert "s3cret" not in repr(proxy)
    assert only("203.0.113.7:80").credentials is None


PRINTABLE = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters=":\x7f\x85"), min_size=1, max_size=30
)


@given(username=PRINTABLE, password=PRINTABLE)
def test_a_credential_survives_its_way_through_a_url(username: str, password: str) -> None:
    proxy = only(f"http://{quote(username, safe='')}:{quote(password, safe='')}@isp.example.com:80")
    assert (proxy.username, proxy.password) == (username, password)


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    read = read_static_list(text)
    assert len(read.proxies) + len(read.bad_lines) + len(read.duplicates) <= len(text.splitlines())
