"""Which locations an order ships or is collected from: decisions only, by number."""

from onhand.sourcing.policy import Option, Part, Policy, Request

__all__ = ["Option", "Part", "Policy", "Request"]
