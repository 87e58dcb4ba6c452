"""Asking for a new password over the web, and the letter that answers."""

from __future__ import annotations

import email
import re
from email import policy
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.factories import make_user
from tests.web.api_setup import PASSWORD, PASSWORD_HASH, Caller, new_client, refused
from tests.web.page_setup import visitor
from whago.domain.models import User
from whago.kit import clock
from whago.kit.languages import LOCALES, Translators
from whago.notify.email import MailFolder
from whago.notify.reset_letters import ResetWriter

EMAIL = "maria@example.com"
NEW = "a new and longer password"
ASK = "/api/v1/auth/forgot-password"
SET = "/api/v1/auth/reset-password"


@pytest.fixture
def maria(app: FastAPI) -> User:
    return make_user("business", email=EMAIL, name="Maria <b>Clara</b>", password_hash=PASSWORD_HASH)


class Post:
    """The worker's clock, and a mailbox that is a folder."""

    def __init__(self, folder: Path, public_url: str | None) -> None:
        self.folder = folder
        self.writer = ResetWriter(MailFolder(folder, "WHAGO <whago@example.com>"), Translators(LOCALES), public_url)

    def letters(self) -> list[email.message.EmailMessage]:
        self.writer.send_due(now=clock.now)
        files = sorted((self.folder / "new").glob("*.eml")) if self.folder.exists() else []
        return [email.message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]  # type: ignore[misc]


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path / "mail", "https://whago.example")


def link_in(letter: email.message.EmailMessage) -> str:
    body = letter.get_body(("plain",))
    assert body is not None
    found = re.search(r"https://whago\.example(/reset-password/[\w-]{43})\b", body.get_content())
    assert found, body.get_content()
    return found[1]


def test_the_whole_way_from_the_wish_to_a_new_password(app: FastAPI, maria: User, post: Post) -> None:
    client = visitor(app)
    assert 'href="/forgot-password"' in client.get("/login").text
    assert client.get("/forgot-password").status_code == 200
    assert client.post(ASK, json={"email": " Maria@Example.com "}).status_code == 204
    (letter,) = post.letters()
    assert letter["To"] == EMAIL
    assert letter["Subject"] == "Uma nova senha"
    path = link_in(letter)
    page = client.get(path)
    assert page.status_code == 200
    assert "Escolher uma nova senha" in page.text
    assert page.headers["Referrer-Policy"] == "same-origin"
    token = path.rpartition("/")[2]
    refused(client.post(SET, json={"token": token, "new_password": "short"}), 422, "invalid_input")
    assert client.post(SET, json={"token": token, "new_password": NEW}).status_code == 204
    refused(client.post("/api/v1/auth/login", json={"email": EMAIL, "password": PASSWORD}), 401, "bad_login")
    assert client.post("/api/v1/auth/login", json={"email": EMAIL, "password": NEW}).status_code == 200
    refused(client.post(SET, json={"token": token, "new_password": NEW}), 404, "link_expired")
    gone = client.get(path)
    assert gone.status_code == 404
    assert "O link não vale mais" in gone.text


def test_whoever_was_signed_in_is_signed_out(app: FastAPI, maria: User, post: Post) -> None:
    elsewhere = visitor(app, maria)
    assert elsewhere.get("/dashboard").status_code == 200
    client = visitor(app)
    client.post(ASK, json={"email": EMAIL})
    token = link_in(post.letters()[0]).rpartition("/")[2]
    assert client.post(SET, json={"token": token, "new_password": NEW}).status_code == 204
    assert elsewhere.get("/dashboard").status_code == 303


def test_the_answer_is_the_same_for_an_address_without_an_account(app: FastAPI, maria: User, post: Post) -> None:
    answers = [visitor(app).post(ASK, json={"email": address}) for address in (EMAIL, "nobody@example.com")]
    assert answers[0].status_code == answers[1].status_code == 204
    assert answers[0].content == answers[1].content == b""
    assert set(answers[0].headers) == set(answers[1].headers)
    assert [letter["To"] for letter in post.letters()] == [EMAIL]


def test_a_name_is_text_in_the_letter(app: FastAPI, maria: User, post: Post) -> None:
    visitor(app).post(ASK, json={"email": EMAIL})
    body = post.letters()[0].get_body(("html",))
    assert body is not None
    assert "Maria &lt;b&gt;Clara&lt;/b&gt;" in body.get_content()


def test_the_letter_speaks_the_readers_language_then_the_askers(app: FastAPI, post: Post) -> None:
    make_user("business", email="a@example.com", language="pt-BR")
    make_user("business", email="b@example.com")
    for address in ("a@example.com", "b@example.com"):
        visitor(app, language="en").post(ASK, json={"email": address})
    subjects = {letter["To"]: letter["Subject"] for letter in post.letters()}
    assert subjects == {"a@example.com": "Uma nova senha", "b@example.com": "A new password"}


def test_without_a_public_address_the_letter_tells_the_path(app: FastAPI, maria: User, tmp_path: Path) -> None:
    visitor(app, language="en").post(ASK, json={"email": EMAIL})
    body = Post(tmp_path / "mail", None).letters()[0].get_body(("plain",))
    assert body is not None
    assert re.search(r"/reset-password/[\w-]{43}", body.get_content())
    assert "http" not in body.get_content()


def test_one_mailbox_is_not_filled_and_the_refusal_tells_nothing(app: FastAPI, maria: User, post: Post) -> None:
    for address in (EMAIL, "nobody@example.com"):
        client = visitor(app)
        codes = [client.post(ASK, json={"email": address}).status_code for _ in range(6)]
        assert codes == [204] * 5 + [429]
    assert len(post.letters()) == 5


def test_one_address_cannot_ask_for_everybody(app: FastAPI) -> None:
    client = visitor(app)
    codes = [client.post(ASK, json={"email": f"user{number}@example.com"}).status_code for number in range(61)]
    assert codes == [204] * 60 + [429]


def test_guessing_links_is_slowed_down(app: FastAPI) -> None:
    client = visitor(app)
    codes = [
        client.post(SET, json={"token": f"guess {number}", "new_password": NEW}).status_code for number in range(61)
    ]
    assert codes == [404] * 60 + [429]


@pytest.mark.parametrize("path", [ASK, SET])
def test_another_site_cannot_do_it_for_somebody(app: FastAPI, path: str) -> None:
    body = {"email": EMAIL} if path == ASK else {"token": "x", "new_password": NEW}
    refused(new_client(app).post(path, json=body, headers={"Origin": "https://evil.example"}), 403, "csrf")


@pytest.mark.parametrize("token", ["x", "%00", "ç" * 60, "a" * 500, "..%2f..%2flogin"])
def test_a_link_that_makes_no_sense_is_told_kindly(app: FastAPI, token: str) -> None:
    answer = visitor(app).get(f"/reset-password/{token}")
    assert answer.status_code == 404
    assert 'data-api="POST /api/v1/auth/reset-password"' not in answer.text


def test_an_administrator_sets_a_password_by_hand(app: FastAPI, admin: Caller, maria: User) -> None:
    signed_in = visitor(app, maria)
    assert admin.ask("PATCH", f"/admin/users/{maria.id}", json={"password": NEW}).status_code == 200
    assert signed_in.get("/dashboard").status_code == 303
    assert new_client(app).post("/api/v1/auth/login", json={"email": EMAIL, "password": NEW}).status_code == 200
