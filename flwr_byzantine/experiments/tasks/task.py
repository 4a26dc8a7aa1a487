"""`Task`: what clients and server must know to agree on data and training."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from flwr_byzantine.declare.params import Constraint, check, param
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import check_dataset
from flwr_byzantine.experiments.models import known
from flwr_byzantine.experiments.tasks.options import Options, frozen
from flwr_byzantine.experiments.tasks.partition_options import PARAMETERS, check_partition
from flwr_byzantine.experiments.tasks.scale import NORMALIZE
from flwr_byzantine.theory.schedules import Decay

OPTIMIZERS = {  # of torch.optim
    name.lower(): name for name in ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")
}
HIDDEN = {"digits": (64,)}
WIDE = (128, 64)  # hidden widths for every other data set
NO_REFRESH = 'refresh is not in the engine "batched", which makes one gradient a client; set engine = "local"'
ALL = "all"
PER_ROUND = Constraint(int, ge=1, either=Constraint(float, gt=0, le=1, either=Constraint(str, choices=(ALL,))))


@dataclass(frozen=True)
class Task:
    """Data, partition, model and training of a federation.

    Attributes:
        dataset: a name of `datasets.DATASETS`, e.g. "digits" (scikit-learn's, embedded; 8 x 8) or "cifar-10" (in torchvision's
            layout), "hf:owner/name" of Hugging Face, or "module:function" of your own.
        dataset_options: of a Hugging Face set (image, label, group, subset, train, test), or arguments of your function.
        data_root: folder of torchvision's sets; "" is $FLWR_BYZANTINE_DATA, or where that is not set ./data.
        normalize: "none"; "standard": images less the mean, over the deviation of each channel, as the papers have them where
            they do; "train-only": so for training, while models are evaluated on images as they are.
        partition: "iid"; "dirichlet" (shares of each label); "sorted" (by label, equal shares); "gamma" (a share
            `gamma` of the data iid, the rest sorted by label); or another of flwr-datasets' partitioners.
        partition_options: of that partitioner, by its own names.
        alpha: Dirichlet concentration; smaller is more heterogeneous.
        gamma: similarity in [0, 1] of "gamma": 1 is iid, 0 is sorted.
        shares: who gets a share: "all" clients, or the "honest" ones, where malicious client k has a copy of the
            share of honest client k.
        num_clients: number of clients.
        num_malicious: clients 0..num_malicious-1 are malicious, or with `attackers` so many in each round.
        clients_per_round: drawn anew in each round: "all", a count, or as a float a share of them, rounded down.
        attackers: "fixed": clients 0..num_malicious-1, of whom a round samples some; or "redrawn": num_malicious of each
            round's clients, as in FLANDERS' code.
        attack_from: the first round with attackers; FLANDERS' code has 3.
        attackers_data: what malicious clients hold: their "share", or "iid": as many examples, drawn at random from all.
        attackers_momentum: whether the gradients of malicious clients have the worker momentum too; in the bucketing paper's code
            they are plain.
        validation: share of the training data that the server holds back to choose hyper-parameters on; rules that ask for data of the
            server's own (FLTrust, Zeno, Zeno++) are given 500 of these examples at most.
        model: one of `experiments.models.MODELS`, or "module:function" for one's own.
        hidden: widths of the hidden layers of "mlp"; () takes the dataset's: 64, or 128 and 64.
        method: "local-sgd" (clients train and send models) or "byzantine-sgd" (clients send a gradient at the
            broadcast model).
        optimizer: of local training, by the name of its class in `torch.optim` in lower case, such as "sgd" or "adam"; new in each round.
        local_epochs: passes over the client's data in a round, where `local_steps` is 0.
        local_steps: batches of a round instead of epochs.
        batch_size: examples of one batch; a smaller rest is a batch too.
        lr: learning rate; under "byzantine-sgd" the server's step size.
        milestones: after each of these rounds lr is multiplied by `lr_decay`.
        lr_decay: see there.
        lr_power: p of lr / k^p in round k: 1 and 0.5 are the 1/k and 1/√k of the theory, 0 is constant.
        warm_up: rounds over which lr rises to its value, in equal steps.
        momentum: of "sgd"; under "byzantine-sgd" the worker momentum.
        momentum_form: of the worker momentum: "averaged", m ← βm + (1 - β)g, or "sum", m ← βm + g.
        server_momentum: β of the server's momentum, m ← βm + what the rule gives, as in Flower's FedAvgM.
        normalized: under "byzantine-sgd" the server's step has length lr, whatever the length of m: Byz-NSGDM.
        refresh: under "byzantine-sgd" p of Byz-VR-MARINA, how often clients send full gradients; 0 is without it. Not in the engine
            "batched".
        server_lr: of the server's step by m under "local-sgd"; 1 is plain averaging.
        weight_decay: factor of ½‖w‖² in the loss.
        seed: of split, partition, initial model and batches.

    Raises:
        InvalidParameter: a value out of range; the message says which.

    Example:
        >>> Task(partition="gamma", gamma=0.66).partition
        'gamma'
    """

    dataset: str = "digits"
    dataset_options: Options = ()
    data_root: str = ""
    normalize: str = param("none", kind=str, choices=NORMALIZE)
    partition: str = "dirichlet"
    partition_options: Options = ()
    alpha: float = 0.5
    gamma: float = param(0.0, kind=float, ge=0, le=1)
    shares: str = param("all", kind=str, choices=("all", "honest"))
    num_clients: int = param(20, ge=1)
    num_malicious: int = param(0, ge=0)
    clients_per_round: int | float | str = field(default=ALL, metadata={"constraint": PER_ROUND})
    attackers: str = param("fixed", kind=str, choices=("fixed", "redrawn"))
    attack_from: int = param(1, ge=1)
    attackers_data: str = param("share", kind=str, choices=("share", "iid"))
    attackers_momentum: bool = param(True, kind=bool)
    validation: float = param(0.0, kind=float, ge=0, lt=1)
    model: str = param("mlp", kind=str)
    hidden: tuple[int, ...] = ()
    method: str = param("local-sgd", kind=str, choices=("local-sgd", "byzantine-sgd"))
    optimizer: str = param("sgd", kind=str, choices=tuple(OPTIMIZERS))
    local_epochs: int = param(5, ge=1)
    local_steps: int = param(0, ge=0)
    batch_size: int = param(16, ge=1)
    lr: float = param(0.1, kind=float, gt=0)
    milestones: tuple[int, ...] = ()
    lr_decay: float = param(0.1, kind=float, gt=0, le=1)
    lr_power: float = param(0.0, kind=float, ge=0, le=1)
    warm_up: int = param(0, ge=0)
    momentum: float = param(0.0, kind=float, ge=0, lt=1)
    momentum_form: str = param("averaged", kind=str, choices=("averaged", "sum"))
    server_momentum: float = param(0.0, kind=float, ge=0, lt=1)
    normalized: bool = param(False, kind=bool)
    refresh: float = param(0.0, kind=float, ge=0, le=1)
    server_lr: float = param(1.0, kind=float, gt=0)
    weight_decay: float = param(0.0, kind=float, ge=0)
    seed: int = param(0, ge=0)

    def __post_init__(self) -> None:
        """Check the fields, each by itself and those that depend on each other."""
        for name in ("dataset_options", "partition_options"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        check_dataset(str(self.dataset), dict(self.dataset_options))
        check_partition(str(self.partition), dict(self.partition_options))
        known(str(self.model))
        for item in fields(self):
            if "constraint" in item.metadata:
                check("task", item.name, getattr(self, item.name), item.metadata["constraint"])
        if self.partition in PARAMETERS["alpha"]:
            check("task", "alpha", self.alpha, Constraint(float, gt=0))
        for name, what in (("hidden", "each width in hidden"), ("milestones", "each round in milestones")):
            check("task", name, getattr(self, name), Constraint(tuple))
            for value in getattr(self, name):
                check("task", what, value, Constraint(int, ge=1))
        self._check_clients()
        if self.optimizer != "sgd" and self.method == "local-sgd" and self.momentum:
            given = f"got {self.momentum!r} with optimizer {self.optimizer!r}"
            raise InvalidParameter(f"task: momentum is of 'sgd' only, {given}; set it to 0")
        self._check_descent()

    def _check_descent(self) -> None:
        if self.method == "byzantine-sgd" and self.server_lr != 1:
            raise InvalidParameter(f"task: server_lr is of 'local-sgd', got {self.server_lr!r}; under 'byzantine-sgd' lr is the server's")
        if self.method == "local-sgd" and (self.normalized or self.refresh):
            raise InvalidParameter("task: normalized and refresh are of method = 'byzantine-sgd', got 'local-sgd'; set it")
        if self.refresh and (self.momentum or self.server_momentum or self.normalized):
            raise InvalidParameter("task: refresh needs momentum = 0, server_momentum = 0, normalized = false: clients correct plain steps")

    def _check_clients(self) -> None:
        check("task", "num_malicious", self.num_malicious, Constraint(int, ge=0, lt=self.num_clients))
        if self.per_round > self.num_clients:
            problem = f"clients_per_round must be at most num_clients = {self.num_clients}, got {self.clients_per_round!r}"
            raise InvalidParameter(f"task: {problem}")
        if self.attackers == "fixed":
            return
        if self.attackers_data == "iid" or not self.attackers_momentum:
            raise InvalidParameter("task: attackers_data and attackers_momentum need attackers = 'fixed'; redrawn ones are honest at times")
        if self.num_malicious >= self.per_round:
            problem = f"'redrawn' draws num_malicious = {self.num_malicious} attackers among {self.per_round} clients of a round"
            raise InvalidParameter(f"task: attackers = {problem}, and leaves none honest; lower num_malicious")
        if self.shares == "honest":
            raise InvalidParameter("task: shares = 'honest' needs attackers = 'fixed': of redrawn ones every client is honest at times")

    @property
    def per_round(self) -> int:
        """How many clients take part in a round, one at least.

        Example:
            >>> [Task(num_clients=20, clients_per_round=given).per_round for given in ("all", 8, 0.25, 0.01)]
            [20, 8, 5, 1]
        """
        given = self.clients_per_round
        if isinstance(given, float):
            return max(1, math.floor(given * self.num_clients + 1e-9))
        return self.num_clients if isinstance(given, str) else given

    @cached_property
    def schedule(self) -> Decay:
        """The learning rate as a function of k = round - 1."""
        return Decay(self.lr, self.milestones, self.lr_decay, self.lr_power, self.warm_up)

    @property
    def server_step(self) -> bool:
        """Whether the server of clients that send models takes a step of its own, rather than their average."""
        return self.method == "local-sgd" and (self.server_momentum != 0 or self.server_lr != 1)

    def lr_in(self, server_round: int) -> float:
        """The learning rate of one round.

        Example:
            >>> Task(lr=0.5, milestones=(2,)).lr_in(3)
            0.05
        """
        return self.schedule(server_round - 1)

    def momentum_of(self, client: int) -> float:
        """The worker momentum of one client.

        Example:
            >>> [Task(num_malicious=1, momentum=0.9, attackers_momentum=False).momentum_of(client) for client in (0, 1)]
            [0.0, 0.9]
        """
        return self.momentum if self.attackers_momentum or client >= self.num_malicious else 0.0

    @property
    def widths(self) -> tuple[int, ...]:
        """Hidden widths of the MLP."""
        return self.hidden or HIDDEN.get(self.dataset, WIDE)

    def to_json(self) -> str:
        """The fields as one string, which a message carries at less cost than two dozen values.

        Example:
            >>> Task.from_json(Task(hidden=(8, 4)).to_json()).hidden
            (8, 4)
        """
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The task that `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        lists: dict[str, Any] = {key: tuple(value) for key, value in found.items() if isinstance(value, list)}
        return cls(**(found | lists))
