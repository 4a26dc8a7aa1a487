"""Colluders around a strategy of Flower's legacy API, whose loop sends to each client by itself, so that no Grid sees a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from flwr.common import FitIns, FitRes, Parameters
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy

from flwr_byzantine.adversary.colluders import Adversary, Harm, Trained, readable
from flwr_byzantine.adversary.nodes import UNNAMED, Nodes, among, partition_of, unnamed
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.flower.mount import Broadcast, named
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.legacy import Evaluate, Evaluated, Fit, Fitted, RobustAggregation, node_of
from flwr_byzantine.strategy.legacy_wrapper import Delegating


class AdversarialStrategy(Delegating):
    """Wraps a legacy strategy, which gets what `attack` makes of all honest results in place of those of `nodes`.

    To be given to the server as its strategy, around all others. With the same attack, seed, round and partitions the attackers
    send what they send under `AdversarialGrid`.

    Args:
        strategy: any legacy strategy whose model is arrays; nothing is attacked under others (FedXgbBagging), and a notice says so.
        attack: any attack. One of own knowledge gets each attacker's own honest update.
        nodes: node ids, or a function of the `FitRes` (see `by_partition`).
        rule, seed, harm: as for `AdversarialGrid`.

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Attributes:
        attack: the attack.
        attacked: node ids whose results were replaced in the last training round.
        notices: why the attack did nothing, each once; they are logged too.

    Example:
        >>> from flwr_byzantine import attacks, legacy
        >>> strategy = AdversarialStrategy(legacy.Krum(num_malicious_clients=2), attacks.ALIE(), nodes={11, 12})
        >>> strategy.attacked, strategy.reports
        ([], [])
    """

    never_wrapped: ClassVar[str] = "it would attack the aggregate; wrap the other way round, AdversarialStrategy({outer}(...), ...)"

    def __init__(
        self, strategy: Strategy, attack: Attack, nodes: Nodes, rule: Rule | None = None, seed: int = 0, harm: Harm | None = None
    ) -> None:
        self.strategy, self.attack, self.nodes = strategy, attack, nodes
        self.adversary = Adversary(attack, rule, seed, harm)
        self.attacked: list[int] = []
        self._broadcasts: dict[int, Broadcast] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "strategy" or name.startswith("__"):  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.strategy, name)

    def __repr__(self) -> str:
        return f"AdversarialStrategy({self.strategy!r}, {self.attack!r}, nodes={self.nodes!r})"

    @property
    def notices(self) -> list[str]:
        """Why the attack did nothing, each once."""
        return self.adversary.notices

    @property
    def _core(self) -> Core | None:
        return self.strategy.core if isinstance(self.strategy, RobustAggregation) else None

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """The wrapped strategy's instructions; remembers what each client is sent."""
        asked = super().configure_fit(server_round, parameters, client_manager)
        number = server_round if self._core is None else self._core.number(server_round)
        self._broadcasts = self._read([(node_of(proxy), given) for proxy, given in asked], number)
        return asked

    def _read(self, asked: list[tuple[int, FitIns]], server_round: int) -> dict[int, Broadcast]:
        """What each node is sent; instructions that clients share are read once."""
        try:
            read = {id(given): _broadcast(given, server_round) for given in {id(given): given for _, given in asked}.values()}
        except Exception as error:
            what = f"what {type(self.strategy).__name__} sends is no model of arrays"
            self.adversary.say(f"nothing is attacked: {what} ({type(error).__name__})")
            return {}
        return {node: read[id(given)] for node, given in asked}

    def aggregate_fit(self, server_round: int, results: list[Fit], failures: list[Fit | BaseException]) -> Fitted:
        """What the wrapped strategy makes of the results, those of the attackers replaced."""
        return self.strategy.aggregate_fit(server_round, self._attacked(results), failures)

    def aggregate_evaluate(self, server_round: int, results: list[Evaluate], failures: list[Evaluate | BaseException]) -> Evaluated:
        """The wrapped strategy's."""
        return self.strategy.aggregate_evaluate(server_round, results, failures)

    @span("attack")
    def _attacked(self, results: list[Fit]) -> list[Fit]:
        """The results as they are after the attack, in the same order."""
        if not self._broadcasts:
            return results
        if unnamed(self.nodes, [result for _, result in results]):
            self.adversary.say(UNNAMED)
        answers = [((proxy, result), self._trained(proxy, result)) for proxy, result in results if node_of(proxy) in self._broadcasts]
        made = self.adversary.act(answers, self._is_bad, next(iter(self._broadcasts.values())))
        self.attacked = sorted(node_of(proxy) for (proxy, _), _ in made)
        instead = {id(result): _carrying(result, arrays) for (_, result), arrays in made}
        return [(proxy, instead.get(id(result), result)) for proxy, result in results]

    def _is_bad(self, answer: Fit) -> bool:
        proxy, result = answer
        return among(self.nodes, node_of(proxy), result)

    def _trained(self, proxy: ClientProxy, result: FitRes) -> Trained:
        node, arrays = node_of(proxy), readable(lambda: named(map(unpack, result.parameters.tensors)))
        return Trained(partition_of(node, result), self._sent(node, len(arrays)), arrays)

    def _sent(self, node: int, count: int) -> Broadcast:
        """What was sent to a node, of the arrays that its reply holds, where the strategy's clients keep some to themselves (`shared=`)."""
        broadcast = self._broadcasts[node]
        template = None if self._core is None else self._core.template
        if template is None or not template.partial or count != len(template.names):
            return broadcast
        return replace(broadcast, model={name: broadcast.model[name] for name in template.names})


def _broadcast(given: FitIns, server_round: int) -> Broadcast:
    read = Broadcast.in_call(map(unpack, given.parameters.tensors), given.config)
    return read if read.round is not None else replace(read, round=server_round)


def _carrying(result: FitRes, arrays: Mapping[str, Array]) -> FitRes:
    """The result with this model in place of its own."""
    tensors = [array.data for array in pack(arrays).values()]
    return replace(result, parameters=Parameters(tensors, result.parameters.tensor_type))
