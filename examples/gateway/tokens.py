"""Tokens that say themselves whose they are: PLAYER.EXPIRES.SIGNATURE, signed with a secret that the login shares.

Print one for trying things out: TOKEN_SECRET=change-me python tokens.py pl-7
"""

import hashlib
import hmac
import os
import sys
import time

from brokerkit.gateway import Credentials, Player

SECRET = os.environ["TOKEN_SECRET"].encode()


def player_of(credentials: Credentials) -> Player | None:
    said, _, signature = credentials.token.rpartition(".")
    if not hmac.compare_digest(sign(said, credentials.operator_id, credentials.brand_id), signature):
        return None
    player, _, expires = said.rpartition(".")
    return Player(
        operator_id=credentials.operator_id,
        brand_id=credentials.brand_id,
        player_id=player,
        expires=float(expires),
    )


def sign(said: str, operator: str, brand: str) -> str:
    return hmac.new(SECRET, f"{operator}/{brand}/{said}".encode(), hashlib.sha256).hexdigest()


def token(player: str, *, operator: str = "northlight", brand: str = "lumen", seconds: int = 3600) -> str:
    said = f"{player}.{int(time.time()) + seconds}"
    return f"{said}.{sign(said, operator, brand)}"


if __name__ == "__main__":
    print(token(sys.argv[1]))
