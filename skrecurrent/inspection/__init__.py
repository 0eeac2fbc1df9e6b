"""Records and pictures of how networks learn and of what they predict."""

from skrecurrent.inspection._fast_weights import FastWeightsDisplay
from skrecurrent.inspection._forecast import ForecastDisplay
from skrecurrent.inspection._loss_curve import LossCurveDisplay
from skrecurrent.inspection._weight_dynamics import WeightDynamicsDisplay, weight_dynamics

__all__ = [
    "FastWeightsDisplay",
    "ForecastDisplay",
    "LossCurveDisplay",
    "WeightDynamicsDisplay",
    "weight_dynamics",
]
