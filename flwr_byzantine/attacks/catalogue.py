"""All attacks but the adaptive one, which tries them out."""

from __future__ import annotations

from flwr_byzantine.attacks.backdoors import EdgeCaseBackdoor
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.colluding import ALIE, IPM, PGA, MinMax, MinSum
from flwr_byzantine.attacks.data import DynamicLabelFlip, LabelFlip
from flwr_byzantine.attacks.fake_clients import MPAF, DisguisedFreeRider, Sybil
from flwr_byzantine.attacks.fang import FangKrum, FangTrimmedMean
from flwr_byzantine.attacks.mimic import Mimic
from flwr_byzantine.attacks.multi_round import Drift, OnOff
from flwr_byzantine.attacks.pixel_backdoors import Backdoor, DistributedBackdoor
from flwr_byzantine.attacks.rule_aware import AGRTailored, OneCoordinate, OptimalALIE, OptimalIPM
from flwr_byzantine.attacks.simple import Gaussian, Inf, NaNs, Scaling, SignFlip, Zero
from flwr_byzantine.attacks.threedfed import ThreeDFed
from flwr_byzantine.attacks.trained_backdoors import AlternatingMinimization, BackdoorCriticalLayers
from flwr_byzantine.attacks.undetected import Undetected

FIXED: tuple[type[Attack], ...] = (
    AGRTailored,
    ALIE,
    AlternatingMinimization,
    Backdoor,
    BackdoorCriticalLayers,
    DisguisedFreeRider,
    DistributedBackdoor,
    Drift,
    DynamicLabelFlip,
    EdgeCaseBackdoor,
    FangKrum,
    FangTrimmedMean,
    Gaussian,
    IPM,
    Inf,
    LabelFlip,
    MPAF,
    Mimic,
    MinMax,
    MinSum,
    NaNs,
    OnOff,
    OneCoordinate,
    OptimalALIE,
    OptimalIPM,
    PGA,
    Scaling,
    SignFlip,
    Sybil,
    ThreeDFed,
    Undetected,
    Zero,
)
