"""`Robust` and `ByzantineSGD` for the Message API: any rule over a Flower strategy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_byzantine.flower import compat
from flwr_byzantine.strategy.arguments import AnyRule, Faults
from flwr_byzantine.strategy.base import RobustWrapper
from flwr_byzantine.strategy.descending import Descends
from flwr_byzantine.strategy.message import Aggregated, RobustAggregation
from flwr_byzantine.theory.schedules import Schedule


class Delegating(Strategy):
    """Samples, configures and sums up as another strategy does."""

    strategy: Strategy

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages."""
        return self.strategy.configure_train(server_round, arrays, config, grid)

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def summary(self) -> None:
        """The wrapped strategy's summary."""
        self.strategy.summary()


class Wrapper(RobustWrapper, RobustAggregation, Delegating):
    """What `Robust` and `ByzantineSGD` share: the wrapped strategy gets the aggregate as the only reply."""

    wraps, default = Strategy, FedAvg
    strategy: Strategy

    def _apply(self, server_round: int, aggregate: ArrayRecord, metrics: MetricRecord, like: Message) -> Aggregated:
        """What the wrapped strategy, an optimiser perhaps, makes of the aggregate as the only reply."""
        with self._metrics_answered("train_metrics_aggr_fn", metrics):
            return self.strategy.aggregate_train(server_round, [self._only_reply(like, metrics, {"arrays": aggregate})])

    def _apply_evaluation(self, server_round: int, evaluation: MetricRecord, like: Message) -> MetricRecord | None:
        """What the wrapped strategy makes of the metrics as the only reply's."""
        with self._metrics_answered("evaluate_metrics_aggr_fn", evaluation):
            return self.strategy.aggregate_evaluate(server_round, [self._only_reply(like, evaluation, {})])

    def _only_reply(self, like: Message, metrics: MetricRecord, content: dict[str, Any]) -> Message:
        said = MetricRecord({**dict(metrics), self._examples_key(): 1})
        return compat.with_content(like, RecordDict({**content, "metrics": said}))


@dataclass(eq=False, repr=False)
class Robust(Wrapper):
    """A Flower strategy whose average is replaced by a robust rule.

    The replies of a round are inspected one by one, aggregated by `rule`, and handed to `strategy` as one reply, so
    that sampling, evaluation and server optimisers stay Flower's. A malformed reply is dropped and named in the
    report, never raised. Metrics are the median over valid replies, unless `strategy` has a function of the user's.

    Args:
        rule: a rule or chain; a name such as "nnm+trimmed-mean", with f; or a function from the number of replies that
            arrived to a rule.
        strategy: the Flower strategy to wrap; `FedAvg()` by default. Those that would not do inside what they are for are refused.
        f: with a name, the replies of a round that may be Byzantine: a count, or a share of those that arrive;
            "auto" (with a rule too, in place of its own): the most that the rule allows at the replies that arrived.

    The fields of `Policy` follow by keyword: `judge` (which arrays decide; running statistics and counters do not), `on_infeasible`,
    `report_path`, `certificate`, `reply_timeout`, `grace`, `checkpoint`, `quarantine`, ...

    Attributes:
        reports: one `RoundReport` for each training round.

    Example:
        >>> from flwr_byzantine import Robust, rules
        >>> strategy = Robust(rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2)))
        >>> strategy.reports
        []
        >>> str(Robust("nnm+krum", f=0.2).rule_at(10))
        'NNM(f=2) + Krum(f=2)'
    """

    rule: AnyRule
    strategy: Strategy = field(default_factory=FedAvg)
    _: KW_ONLY
    f: Faults = None


@dataclass(eq=False, repr=False)
class ByzantineSGD(Descends, Wrapper):
    """Byzantine-resilient SGD: clients answer with gradients, w_{k+1} = w_k - γ_k F(V_1, ..., V_n), k = round - 1.

    Clients answer with one stochastic gradient at the broadcast model (`client.gradient_reply`); `rule` aggregates what
    passes inspection. When the guarantee holds and what it promises is in `flwr_byzantine.theory`.

    Args:
        rule: as for `Robust`.
        step_size: γ, or a function from k = 0, 1, ... to γ_k such as `theory.InverseRoot` or `theory.Polynomial`.
        momentum: μ of the server's heavy-ball momentum, m_k = μ m_{k-1} + F, in [0, 1).
        strategy: samples and evaluates; a Flower strategy, `FedAvg()` by default.
        f: as for `Robust`.
        normalized: step by γ_k m_k / ‖m_k‖: with worker momentum and NNM in the rule this is Byz-NSGDM.
        refresh: p of Byz-VR-MARINA: clients send full gradients in the first round and then with probability p, in other rounds the
            last aggregate corrected by how a stochastic gradient has changed since (`client.gradient_reply(full=...)`). None: never.
        refresh_seed: of the draws of these rounds.

    The fields of `Policy` follow by keyword, as for `Robust`. State that `judge` leaves out stays as it was broadcast.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022. Byz-NSGDM:
    Bolatov, Horváth, Takáč, Gorbunov, CPAL 2026. Byz-VR-MARINA: Gorbunov, Horváth, Richtárik, Gidel, ICLR 2023, without compression.

    Example:
        >>> from flwr_byzantine import rules, theory
        >>> strategy = ByzantineSGD(rules.Krum(f=2), step_size=theory.InverseRoot(0.5, K=100), certificate=True)
        >>> round(strategy.descent.gamma(0), 3)
        0.05
    """

    rule: AnyRule
    step_size: float | Schedule
    momentum: float = 0.0
    strategy: Strategy = field(default_factory=FedAvg)
    _: KW_ONLY
    f: Faults = None
    normalized: bool = False
    refresh: float | None = None
    refresh_seed: int = 0
