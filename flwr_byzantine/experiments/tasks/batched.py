"""A task's federation on the engine "batched": clients, attack, strategy and measures on arrays, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch

from flwr_byzantine.adversary import Adversary, Trained
from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack, DataAttack
from flwr_byzantine.experiments.measures import ReplyShares, kappa_seen, shares_of_average, shares_of_report
from flwr_byzantine.experiments.tasks import client
from flwr_byzantine.experiments.tasks.cohort import Answers, Cohort
from flwr_byzantine.experiments.tasks.learned import TaskModel
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.rules import Mean, Rule
from flwr_byzantine.strategy.in_process import InProcess
from flwr_byzantine.strategy.report import RoundReport

Model = Mapping[str, Array]
