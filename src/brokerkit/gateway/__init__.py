"""Events of any broker, pushed to browsers over ThrillConnect's WebSocket API: ``brokerkit gateway``."""

from brokerkit.gateway._check import Check, Credentials, HttpCheck, Player
from brokerkit.gateway._gateway import Gateway
from brokerkit.gateway._settings import GatewaySettings
from brokerkit.gateway._stats import GatewayStats

__all__ = ["Check", "Credentials", "Gateway", "GatewaySettings", "GatewayStats", "HttpCheck", "Player"]
