from __future__ import annotations

from http import HTTPStatus

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from codeworm_monitor.cors import is_preflight, opened, preflight_answer
from codeworm_monitor.http import Answer, respond


def request(method: str, **headers: str) -> Request:
    return Request("/", Headers({name.replace("_", "-"): value for name, value in headers.items()}), method)


def test_what_an_answer_says_goes_before_what_all_say() -> None:
    answer = Answer(HTTPStatus.OK, b"12", "text/css", {"Cache-Control": "no-cache", "ETag": '"1"'})
    response = respond(request("GET"), answer)
    assert dict(response.headers.raw_items()) == {
        "Connection": "close",
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": "text/css",
        "Content-Length": "2",
        "ETag": '"1"',
    }
    assert (response.status_code, response.body) == (200, b"12")
    assert respond(request("HEAD"), answer).body == b""
    assert respond(request("HEAD"), answer).headers["Content-Length"] == "2"


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE", "get"])
def test_other_methods_get_nothing_of_the_answer_but_leave_to_read_the_refusal(method: str) -> None:
    answer = opened(Answer(HTTPStatus.OK, b"12", headers={"ETag": '"1"'}), ["http://a"])
    response = respond(request(method), answer)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.headers["Access-Control-Allow-Origin"] == "http://a"
    assert "ETag" not in response.headers


def test_a_refusal_is_one_to_any_method() -> None:
    assert respond(request("POST"), Answer(HTTPStatus.FORBIDDEN, b"no")).status_code == 403


def test_an_answer_without_content_says_nothing_of_any() -> None:
    response = respond(request("GET"), Answer(HTTPStatus.NOT_MODIFIED, b"", headers={"ETag": '"1"'}))
    assert (response.status_code, response.body, response.headers["ETag"]) == (304, b"", '"1"')
    assert not {"Content-Length", "Content-Type"} & set(response.headers)


def test_a_preflight_is_told_from_another_request_and_answered() -> None:
    asked = {"Origin": "http://a", "Access_Control_Request_Method": "GET"}
    assert is_preflight(request("OPTIONS", **asked))
    assert not is_preflight(request("GET", **asked))
    assert not is_preflight(request("OPTIONS", Origin="http://a"))
    assert not is_preflight(request("OPTIONS", Access_Control_Request_Method="GET"))
    response = respond(request("OPTIONS", **asked), opened(preflight_answer(), ["http://a"]))
    assert response.status_code == 204
    assert set(response.headers["Access-Control-Allow-Headers"].split(", ")) == {"Content-Type", "Authorization"}
    assert (response.headers["Access-Control-Allow-Origin"], response.headers["Vary"]) == ("http://a", "Origin")
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_without_an_origin_there_is_nobody_to_open_to_and_caches_are_told_that_it_matters() -> None:
    headers = opened(Answer(HTTPStatus.OK, b""), []).headers
    assert headers == {"Vary": "Origin"}
