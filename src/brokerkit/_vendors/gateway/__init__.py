"""Events of any broker, pushed to browsers over ThrillConnect's WebSocket API: ``brokerkit gateway``."""

from brokerkit._vendors.gateway._check import Check, Credentials, HttpCheck, Player
from brokerkit._vendors.gateway._gateway import Gateway
from brokerkit._vendors.gateway._settings import GatewaySettings, Keywords
from brokerkit._vendors.gateway._stats import GatewayStats

__all__ = ["Check", "Credentials", "Gateway", "GatewaySettings", "GatewayStats", "HttpCheck", "Keywords", "Player"]
