"""The interface of everything that runs requests."""

from __future__ import annotations

import abc

from ckpt2saved.requests.request import Answers, Request


class Asker(abc.ABC):
    """Runs requests on a model: its SavedModel files, the graph of its checkpoint, or a server that serves it."""

    @abc.abstractmethod
    def answer(self, request: Request) -> Answers:
        """Run the request; returns arrays by output key (inner tensors: by tensor name).

        Raises an exception if the request fails; the subclasses document which ones.
        """
