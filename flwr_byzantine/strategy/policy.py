"""What to do in a round that is not as it should be: the arguments common to all strategies."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter, NotReproducible
from flwr_byzantine.strategy.lora import LoRA
from flwr_byzantine.strategy.places import file_place, folder_place
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.roles import Choice, check_choice
from flwr_byzantine.strategy.telling import OnReport, check_callbacks


@dataclass(kw_only=True, eq=False, repr=False)
class Policy:
    """Arguments common to all strategies, each an attribute of the strategy that may be set later and holds from the next round on.

    Relative paths are taken from the current folder at the time they are given (in a deployment: the folder in which
    `flower-superlink` was started, which all apps share), and are absolute from then on.

    Attributes:
        on_infeasible: with fewer valid replies than the rule needs, "skip" keeps the model and says so, "error" raises
            `InfeasibleRound`.
        max_skipped_rounds: so many skipped rounds in a row raise `InfeasibleRound`; so does a run in which no round was
            aggregated at all.
        on_missing: nodes that answer with errors or not at all may be honest, so that f stays and the round is skipped where too few
            are left ("keep-f"); with "lower-f" f falls by as many of them as it takes, not below 0: the guarantee of such a round,
            as its report notes, then rests on these being Byzantine, and f attackers that answer well steer a model at f = 0.
        weighting: "uniform": what clients say of their number of examples never changes the model. "capped": a rule that
            averages a selection weighs it by num-examples, of which at most twice the median of the selection counts.
        report_path: file to which each round's report is added as a line of JSON with the run's id, or None. A run that goes on
            has each round in it once; other runs' lines stay. Where it cannot be written, the log says so and the run goes on.
        on_report: a function of one `RoundReport`, or a list of them, called with each round's report when the round is over; one
            that raises costs a line in the log and a note in the report. `flwr_byzantine.monitor` has those for TensorBoard, MLflow,
            Weights & Biases and Prometheus. A method `evaluated`, where one has it, is called with a round's number, "clients" or
            "server", and what an evaluation of the round's model found there.
        certificate: add to each report whether the resilience condition held (`theory.certify`); costs one more pass over
            the replies.
        node_timeout: seconds that a round waits for nodes to connect, where the strategy wants more than there are (Flower waits for
            ever). Then it is run with those there if they are enough for the rule, else skipped; nobody waits for the others again
            until they are back.
        reply_timeout: seconds after which a round, or its evaluation, goes on with what has come: a number, or a function of the
            server round; None leaves it to Flower's `timeout`, 3600 s by default.
        min_valid_replies: replies after which the grace period begins; None waits for n - f of the n nodes asked, and in training
            for what the rule needs.
        grace: seconds that the others have from then on, in training and evaluation. None gives them as long again as it took
            until then, and 60 s at least. Where n - f nodes have answered and that is no quorum, since some replies are malformed
            or the rule needs more, the others get ten times as long as None gives. On Flower's Grids; others collect as they do.
        checkpoint: file that gets model, round, state, the strategies' own attributes and reports after each round, or None.
            Written by one run at a time (a lock beside it), for its owner's eyes (mode 0600), and never over one that is there
            unless by `resume`. Where it cannot be written, the log says so each round and the run goes on.
        resume: go on from `checkpoint` where it exists, which must be of the same model, rule, strategy, run name and Flower app.
            A seeded program then samples the nodes that it would have sampled.
        run_name: what you call the run, so that no other run of the same app goes on from its checkpoint.
        quarantine: a `Quarantine`, or None to sample every node whatever its record.
        server_update: for rules that trust the server (FLTrust), called in each round with its number and the broadcast model,
            an ArrayRecord (legacy API: a list of ndarrays), to return the model as trained on the server's own clean data.
        server_loss: for detectors that ask for it (Zeno), a function of the round's number and a model, as a dictionary of name ->
            ndarray of the shared arrays ("0", "1", ... in the legacy API), that gives its loss on the server's own data.
        server_predict: for detectors that look at predictions (DeepSight), a function of the same two that gives the model's outputs,
            (samples, classes), on inputs that are the same whenever it is called in one round.
        judge: which arrays decide whom a rule keeps: "trained", all floats but running statistics, counters and quantisation by
            the names of PyTorch, Keras, Flax and Haiku; "all"; patterns of names, such as `trained_names(model)`; positions in a
            model that is a list (legacy API, `ArrayRecord(model.get_weights())`), whose running statistics are found only where
            PyTorch's counter follows them; or a function of name and array. Everything else is state: aggregated by itself,
            coordinate by coordinate over all valid replies, and never shown to rules and server optimisers. So are booleans, and
            arrays of which more than a tenth is not finite in the run's first model, whatever this says.
        scale: None compares updates as they are. "per-array" divides each judged array's distances, norms and inner products by its
            typical size among the round's replies, so that none decides alone; what a rule then guarantees (κ), it guarantees in
            that norm: in the plain one κ is up to (largest / smallest scale)² times as large. Radii and thresholds of a rule are
            in the scaled unit, which is the typical size of the array that differs most. Nothing changes for rules that take each
            coordinate by itself.
        shared: which arrays clients send, in the forms of `judge`; None for all. The others are theirs (personal heads, BatchNorm under
            FedBN): a reply may leave them out or send anything in their place, which nobody reads; the server's model keeps them as
            they were broadcast, and arrays beyond the model's are no fault. Replies without names (legacy API) hold all arrays, or the
            shared ones alone, in the model's order. What is judged is judged among the shared.
        lora: a `LoRA`, where clients train adapters: these are compared and aggregated as the products that they are, whatever their
            rank; None treats their factors as ordinary arrays.
        reproducible: compute each aggregate with the same bits on every machine, whatever its cores, instruction sets and libraries, and
            put SHA-256 digests of model, replies and aggregate into the reports. It takes longer, nothing is worked out while replies
            come, and rules that cannot are refused: docs/reproducible.md. What the strategy below makes of the aggregate is its own.
        replies_path: under reproducible=True, folder that gets each aggregated round in a file of its own (mode 0600): its replies, the
            model before it, the rule and its state, the report. `flwr-byzantine verify FILE` makes the aggregate again. Where it
            cannot be written, the log says so and the run goes on.
        replies_kept: how many rounds of a run stay there, the last ones.
        spill: folder on a disk to whose temporary file each reply's arrays are moved when they arrive (legacy API: when they
            are aggregated), for rounds larger than the memory; gone after the round. The messages lose their arrays.
    """

    on_infeasible: Literal["skip", "error"] = "skip"
    max_skipped_rounds: int = 5
    on_missing: Literal["keep-f", "lower-f"] = "keep-f"
    weighting: Literal["uniform", "capped"] = "uniform"
    report_path: str | Path | None = None
    on_report: OnReport = None
    certificate: bool = False
    node_timeout: float = 600.0
    reply_timeout: float | Callable[[int], float | None] | None = None
    min_valid_replies: int | None = None
    grace: float | None = None
    checkpoint: str | Path | None = None
    resume: bool = False
    run_name: str | None = None
    quarantine: Quarantine | None = None
    server_update: Callable[[int, Any], Any] | None = None
    server_loss: Callable[[int, dict[str, Any]], float] | None = None
    server_predict: Callable[[int, dict[str, Any]], Any] | None = None
    judge: Choice = "trained"
    shared: Choice | None = None
    scale: Literal["per-array"] | None = None
    lora: LoRA | None = None
    spill: str | Path | None = None
    reproducible: bool = False
    replies_path: str | Path | None = None
    replies_kept: int = 10

    if not TYPE_CHECKING:  # a type checker would take it to mean that any attribute may be set

        def __setattr__(self, name: str, value: Any) -> None:
            """Set an attribute.

            Raises:
                InvalidParameter: a value that this argument cannot have; the attribute stays as it was.
            """
            if name in CONSTRAINTS and not (name == "reply_timeout" and callable(value)):
                check("strategy", name, value, CONSTRAINTS[name])
            if name == "on_report":
                check_callbacks(value)
            if name == "judge" or (name == "shared" and value is not None):
                check_choice(name, value)
            if name in PLACES and value is not None:
                value = PLACES[name](name, value)
            super().__setattr__(name, value)

    def reply_timeout_in(self, server_round: int) -> float | None:
        """Seconds after which a round goes on with what has come; None leaves it to Flower.

        Raises:
            InvalidParameter: the user's function of the round gives anything else.
        """
        if not callable(self.reply_timeout):
            return self.reply_timeout
        seconds = self.reply_timeout(server_round)
        check("strategy", f"reply_timeout({server_round})", seconds, CONSTRAINTS["reply_timeout"])
        return seconds

    def check_policy(self) -> None:
        """Refuse policies that do not go together, and files and folders that are not there.

        Raises:
            InvalidParameter: one sentence says what was expected.
        """
        if self.resume and self.checkpoint is None:
            raise InvalidParameter("strategy: resume=True needs checkpoint=, the file to go on from")
        if self.lora is not None and self.scale:
            raise InvalidParameter("strategy: lora= needs scale=None: products are compared in the model's own norm")
        if self.lora is not None and (self.server_loss or self.server_predict):
            raise InvalidParameter("strategy: lora= goes without server_loss= and server_predict=, which move a model by coordinates")
        self._check_reproducible()
        if self.scale and self.certificate:
            raise InvalidParameter("strategy: certificate=True needs scale=None: a guarantee in the scaled norm says nothing of descent")
        if self.weighting == "capped" and self.certificate:
            raise InvalidParameter("strategy: certificate=True needs weighting='uniform': κ is of means that count kept replies alike")
        for name in ("server_update", "server_loss", "server_predict"):
            if (function := getattr(self, name)) is not None and not callable(function):
                raise InvalidParameter(f"strategy: {name} must be a function of round and arrays, got {function!r}")
        if self.checkpoint is not None and os.path.realpath(self.checkpoint) == os.path.realpath(self.report_path or ""):
            raise InvalidParameter(f"strategy: checkpoint and report_path must be two files, got {str(self.checkpoint)!r} for both")

    def _check_reproducible(self) -> None:
        if self.reproducible and (self.scale or self.lora is not None):
            what = "scale=None: typical sizes come" if self.scale else "lora=None: the nearest adapter of a rank comes"
            raise NotReproducible(f"strategy: reproducible=True needs {what} from products of BLAS and LAPACK")
        if self.replies_path is not None and not self.reproducible:
            raise InvalidParameter("strategy: replies_path= needs reproducible=True: another machine finds other bits of other rounds")


CONSTRAINTS = {
    "on_infeasible": Constraint(str, choices=("skip", "error")),
    "max_skipped_rounds": Constraint(int, ge=1),
    "on_missing": Constraint(str, choices=("keep-f", "lower-f")),
    "weighting": Constraint(str, choices=("uniform", "capped")),
    "certificate": Constraint(bool),
    "node_timeout": Constraint(float, ge=0),
    "reply_timeout": Constraint(float, gt=0, optional=True),
    "min_valid_replies": Constraint(int, ge=1, optional=True),
    "grace": Constraint(float, ge=0, optional=True),
    "scale": Constraint(str, choices=("per-array",), optional=True),
    "resume": Constraint(bool),
    "run_name": Constraint(str, optional=True),
    "quarantine": Constraint(Quarantine, optional=True),
    "lora": Constraint(LoRA, optional=True),
    "reproducible": Constraint(bool),
    "replies_kept": Constraint(int, ge=1),
}
PLACES = {"report_path": file_place, "checkpoint": file_place, "spill": folder_place, "replies_path": folder_place}
