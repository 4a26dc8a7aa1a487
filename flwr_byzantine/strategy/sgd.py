"""Byzantine-resilient SGD: what both Flower APIs share, and the Message API's strategy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.records import GRADIENT, REPLY
from flwr_byzantine.strategy.checkpoint import Snapshot
from flwr_byzantine.strategy.descent import Descent
from flwr_byzantine.strategy.message import Robust
from flwr_byzantine.strategy.template import Template


class Descending:
    """Mixin for `Robust`: replies are gradients at the broadcast model, and the model moves by `Descent`."""

    def __init__(self, rule: Any, step_size: Any, momentum: float = 0.0, strategy: Any = None, **policy: Any) -> None:
        super().__init__(rule, strategy, **policy)  # type: ignore[call-arg]
        self.descent = Descent(step_size, momentum)
        self._model: list[Array] = []

    def _template_of(self, payloads: Mapping[str, bytes]) -> Template:
        """Replies look like the model, but are vectors of their own, not points near it."""
        template = Template.of(payloads)
        self._model = [origin for origin in template.origins if origin is not None]
        template.origins = [None] * len(template.names)
        return template

    def _next(self, server_round: int, blocks: list[Array]) -> list[Array]:
        return self.descent.step(server_round - 1, self._model, blocks)

    def _add_to(self, snapshot: Snapshot) -> None:
        super()._add_to(snapshot)  # type: ignore[misc]
        snapshot.arrays |= {f"velocity/{k}": block for k, block in enumerate(self.descent.velocity or [])}

    def _restore(self, snapshot: Snapshot) -> None:
        super()._restore(snapshot)  # type: ignore[misc]
        self.descent.velocity = list(snapshot.group("velocity").values()) or None


class ByzantineSGD(Descending, Robust):
    """Byzantine-resilient SGD: clients answer with gradients, w_{k+1} = w_k - γ_k F(V_1, ..., V_n), k = round - 1.

    Clients answer with one stochastic gradient at the broadcast model (`client.gradient_reply`); `rule` aggregates what
    passes inspection. When the guarantee holds and what it promises is in `flwr_byzantine.theory`.

    Args:
        rule: a rule or chain; or a function from the number of replies that arrived to one.
        step_size: γ, or a function from k = 0, 1, ... to γ_k such as `theory.InverseRoot` or `theory.Polynomial`.
        momentum: μ of the server's heavy-ball momentum, m_k = μ m_{k-1} + F, in [0, 1).
        strategy: samples and evaluates; a Flower strategy, `FedAvg()` by default.
        policy: as for `Robust`.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022.

    Example:
        >>> from flwr_byzantine import rules, theory
        >>> strategy = ByzantineSGD(rules.Krum(f=2), step_size=theory.InverseRoot(0.5, K=100), certificate=True)
        >>> round(strategy.descent.gamma(0), 3)
        0.05
    """

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """As `Robust`, telling the clients that a gradient is wanted."""
        config[REPLY] = GRADIENT
        return super().configure_train(server_round, arrays, config, grid)
