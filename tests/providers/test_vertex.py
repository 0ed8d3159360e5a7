"""Gemini on Vertex AI, with google-auth's real credentials and a token server of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_server import AnswerServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import mesh_nb as mesh
from mesh_nb.core.errors import AuthenticationError, ConfigurationError, NodeExecutionError
from mesh_nb.core.events import encode
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers import _clients, _vertex

service_account = pytest.importorskip("google.oauth2.service_account")
TOKEN = "ya29.an-access-token-of-a-test"
MODELS = "/v1/projects/my-project/locations/europe-west1/publishers/google/models"
VARIABLES = (
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL"),
    *("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_APPLICATION_CREDENTIALS"),
)


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer("from Vertex") as running:
        grant = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
        running.files["/token"] = (200, "application/json", json.dumps(grant).encode())
        yield running


@pytest.fixture
def account(server: AnswerServer, private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account whose tokens come from the server, in a file that no variable names yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_clients, "_google", {})
    path = tmp_path / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "1",
                "private_key": private_key,
                "client_email": "me@my-project.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": f"{server.url}/token",
            }
        )
    )
    return path


async def ask(**options: Any) -> mesh.Run:
    graph = mesh.StateGraph().add_node(
        "llm", node_type="llm", model="gemini-3-pro", provider="gemini", **options
    )
    return await graph.set_entry_point("llm").run("hi", backend=mesh.MemoryBackend(), display=False)


def calls(server: AnswerServer) -> list[tuple[str, dict[str, str]]]:
    return [(p.partition("?")[0], h) for _, p, h, _ in server.requests if "/models/" in p]


def grants(server: AnswerServer) -> int:
    return sum(path == "/token" for _, path, _, _ in server.requests)


async def test_the_environment_names_project_place_and_credentials(
    server: AnswerServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("GEMINI_API_KEY", "a-key-that-stays-here")
    await ask(base_url=server.url)
    run = await ask(base_url=server.url)
    assert run.text == "from Vertex"
    (path, headers), _ = calls(server)
    assert path == f"{MODELS}/gemini-3-pro:streamGenerateContent"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-goog-api-key" not in headers
    assert grants(server) == 1
    assert not [e for e in run.events if TOKEN.encode() in encode(e)]


async def test_credentials_as_client(server: AnswerServer, account: Path) -> None:
    credentials = service_account.Credentials.from_service_account_file(str(account))
    run = await ask(client=credentials, base_url=f"{server.url}{MODELS.removesuffix('/models')}")
    assert run.text == "from Vertex"
    [(path, headers)] = calls(server)
    assert path == f"{MODELS}/gemini-3-pro:streamGenerateContent"
    assert headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_key_that_is_passed_goes_before_credentials(
    server: AnswerServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    await ask(base_url=server.url, api_key="a-passed-key")
    [(path, headers)] = calls(server)
    assert "/locations/global/" in path
    assert (headers["x-goog-api-key"], "authorization" in headers) == ("a-passed-key", False)


async def test_a_refused_account_says_what_to_do_and_shows_nothing(
    server: AnswerServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    server.files["/token"] = (400, "application/json", b'{"error": "invalid_grant: secret-of-the-server"}')
    with pytest.raises(NodeExecutionError) as caught:
        await ask(base_url=server.url)
    cause = caught.value.__cause__
    assert isinstance(cause, AuthenticationError)
    assert "gcloud auth application-default login" in str(cause)
    assert "secret-of-the-server" not in str(cause)
    assert calls(server) == []


async def test_a_token_in_an_answer_is_not_shown(
    server: AnswerServer, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = service_account.Credentials.from_service_account_file(str(account))
    model = f"{MODELS}/gemini-3-pro:streamGenerateContent?alt=sse"
    said = {"error": {"code": 403, "message": f"{TOKEN} may not", "status": "PERMISSION_DENIED"}}
    server.files[model] = (403, "application/json", json.dumps(said).encode())
    with pytest.raises(NodeExecutionError) as caught:
        await ask(client=credentials, base_url=f"{server.url}{MODELS.removesuffix('/models')}")
    assert "*** may not" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_project_is_needed(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with pytest.raises(ConfigurationError, match="GOOGLE_CLOUD_PROJECT is not set"):
        LLMNode("llm", model="gemini-3-pro").check()


@pytest.mark.parametrize(
    ("base_url", "known"),
    [
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google", True),
        (
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google",
            True,
        ),
        ("https://aiplatform.googleapis.com/v1/projects/p/locations/global", True),
        ("https://aiplatform.googleapis.com/v1/publishers/google", False),
    ],
)
def test_an_address_of_vertex_needs_no_key_but_its_express_mode_does(
    account: Path, base_url: str, known: bool
) -> None:
    node = LLMNode("llm", model="gemini-3-pro", provider="gemini", base_url=base_url)
    if known:
        node.check()
    else:
        with pytest.raises(ConfigurationError, match="GEMINI_API_KEY is not set"):
            node.check()


def test_the_address_of_a_project_is_enough() -> None:
    project = "https://aiplatform.googleapis.com/v1/projects/p/locations/global"
    whole = f"{project}/publishers/google"
    assert [_vertex.address(url) for url in (project, f"{project}/", whole)] == [whole] * 3


def test_without_google_auth_the_extra_is_named(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google.auth", None)
    base_url = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"
    with pytest.raises(ConfigurationError, match=r"pip install 'mesh_nb\[vertex\]'"):
        LLMNode("llm", model="gemini-3-pro", provider="gemini", base_url=base_url).check()
