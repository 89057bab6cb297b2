"""Run requests on a model on a server, as its clients do."""

from __future__ import annotations

from ckpt2saved.answers.asker import Asker
from ckpt2saved.client.model_client import Client
from ckpt2saved.requests.request import Answers, Request


class ClientAsker(Asker):
    """Sends requests to a model on a server; raises the errors of Client.predict."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def answer(self, request: Request) -> Answers:
        return self._client.predict(request.signature, request.inputs)
