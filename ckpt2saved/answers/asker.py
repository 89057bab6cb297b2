"""Whoever answers requests for the signatures of a model."""

from __future__ import annotations

import abc

from ckpt2saved.requests.request import Answers, Request


class Asker(abc.ABC):
    """Puts requests to a model: to its files, to the graph of its checkpoint, or to a server that has loaded it."""

    @abc.abstractmethod
    def answer(self, request: Request) -> Answers:
        """The values by the keys of the signature's outputs (of inner tensors, by their names).

        Where there are none, an exception says why; which ones, the subclasses say.
        """
