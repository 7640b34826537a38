"""The tables of a configuration file that belong to a vendor's parts. A bus allows them and reads nothing in them.

They are known as soon as brokerkit is imported, without the parts themselves, which need extras.
"""

from brokerkit._config._loading import register_section

register_section("gateway")
