"""Which locations an order ships or is collected from: decisions only, by number."""

from onhand.sourcing.nearest import NearestFewest
from onhand.sourcing.policy import Option, Part, Policy, Request

__all__ = ["NearestFewest", "Option", "Part", "Policy", "Request"]
